"""Reading from a database server: what all of them have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sipcap.calls.readers.base import Gone, Reader
from sipcap.errors import CannotStart
from sipcap.record import date_text
from sipcap.sinks.driver import Driver, Trouble

_LOGGER = logging.getLogger("sipcap")
T = TypeVar("T")


class Asking(ABC):
    """A connection that may get lost: then the statement is asked once more.

    Args:
        driver: not yet connected.
    """

    place: str

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.place = driver.place

    @abstractmethod
    def _fetch(self, sql: str, params: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        """Run a statement; raises the driver's errors."""

    @abstractmethod
    def _is_gone(self, error: Exception) -> bool:
        """Whether an error says that there is no such table."""

    def _set_up(self) -> None:  # noqa: B027  # not every database needs it
        """Prepare a new connection; raises the driver's errors."""

    def open(self) -> None:
        """Connect; see Reader."""
        try:
            self._connect()
        except self._driver.errors as error:
            self._driver.disconnect()
            raise CannotStart(f"cannot use {self.place}: {self._driver.text(error)}") from None

    def _connect(self) -> None:
        self._driver.connect()
        self._set_up()

    def close(self) -> None:
        """Disconnect; see Reader."""
        self._driver.disconnect()

    def execute(self, sql: str, params: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        """Run one SELECT; see Reader."""
        return self.asked(lambda: self._fetch(sql, params))

    def asked(self, ask: Callable[[], T]) -> T:
        """What is read from the server; raises Gone and CannotStart."""
        try:
            try:
                return ask()
            except self._driver.errors as error:
                if self._driver.trouble(error) is not Trouble.LOST:
                    raise
                _LOGGER.warning("%s: %s; connecting again", self.place, self._driver.text(error))
            self._connect()
            return ask()
        except self._driver.errors as error:
            if self._is_gone(error):
                raise Gone from None
            raise CannotStart(f"cannot read {self.place}: {self._driver.text(error)}") from None


class ServedReader(Asking, Reader):
    """A Reader (see ``base.py``) over such a connection."""

    mark = "%s"

    def date_bound(self, form: str, ts_us: int) -> Any:
        """A time as the server reads dates; see Reader."""
        del form
        return date_text(ts_us // 1_000_000)
