"""What can be asked of a running service: the seam between its control sockets and metrics and its processes."""

from __future__ import annotations

from typing import Any, Protocol


class UnknownMode(ValueError):
    """There is no capture mode of this name."""


class ReloadError(Exception):
    """The new configuration cannot be used, or not without a restart; the old one stays in force. One line."""


class Controller(Protocol):
    """A running service. Every method but ``reload`` returns at once, and all may be called from any thread."""

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
        service), ``listeners`` [{``name``, ``addresses``, ``workers`` [{``pid`` (0 while it waits to be started again),
        ``restarts``, ``counters``}]}], ``sorting`` {``pid``, ``restarts``} (the process that gives each record to its
        database; None with one database alone), ``stores`` [{``mode``, ``pid``, ``counters``, ``requests`` and
        ``replies`` (what of ``stored`` they are: the module's statistics), ``queue`` (records waiting),
        ``spool_bytes`` and ``spool_records`` (None without a spool), ``spool_full``, ``database_up``,
        ``database_tried`` (false: it is not known yet)}],
        ``activity`` (what ``Activity.as_dict`` gives, added up), ``latency`` {``batch_s`` (from the first record of
        a batch to its commit), ``database_s`` (the transaction alone): ``Histogram.as_dict``}, ``errors``
        [{``ts_us``, ``text``}], the latest last, ``spool`` {``path``, ``keys`` {how the names of its folders begin:
        capture mode}}, None without one.
        """
