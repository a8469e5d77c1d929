"""What can be asked of a running service: the seam between its control sockets and metrics and its processes."""

from __future__ import annotations

from typing import Any, Protocol


class UnknownMode(ValueError):
    """There is no capture mode of this name."""


class ReloadError(Exception):
    """The new configuration cannot be used, or not without a restart; the old one stays in force. One line."""


class Controller(Protocol):
    """A running service. Every method returns at once and may be called from any thread."""

    def set_capture(self, mode: str | None, *, on: bool) -> None:
        """Switch capture on or off in every worker at once; ``mode`` is one capture mode, None is all of it.

        Raises:
            UnknownMode: there is no such mode.
        """

    def capture_is_on(self, mode: str | None = None) -> bool:
        """Whether capture, or that of one mode, is switched on; raises as ``set_capture``."""

    def reload(self) -> None:
        """Read the configuration again; raises ReloadError."""

    def stats(self) -> dict[str, Any]:
        """The whole state, as ``sipcap status --json`` shows it.

        Keys: ``version``, ``pid``, ``started_us``, ``enabled``, ``modes`` {name: bool}, ``counters`` (design 1.9, whole
        service), ``listeners`` [{``name``, ``addresses``, ``workers`` [{``pid``, ``restarts``, ``counters``}]}],
        ``stores`` [{``mode``, ``counters``, ``queue`` (records waiting), ``spool_bytes``, ``spool_records``,
        ``database_up``}], ``activity`` (what ``Activity.as_dict`` gives, added up), ``latency``
        {``batch_s``, ``database_s``: histograms}, ``errors`` [{``ts_us``, ``text``}], the latest last.
        """
