"""Records into a database server: attempts, the ledger of batches, and what is known of tables."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sipcap.errors import CannotStart, DatabaseAway, SinkError
from sipcap.limits import SHAPE_KEEP_S
from sipcap.record import SipRecord
from sipcap.schemas import HOMER7, SIPCAPTURE
from sipcap.sinks.base import Adjusted, Row
from sipcap.sinks.budget import Budget
from sipcap.sinks.driver import LEDGER, Driver, Found, Load, Refused, Table, Trouble
from sipcap.sinks.forms import forms_of
from sipcap.sinks.memory import Memory
from sipcap.sinks.naming import Naming
from sipcap.sinks.shape import Shape, Tally

_LEDGER_CLEAN_EVERY: Final = 256  # batches
_CLASHES: Final = 8  # attempts at what several processes do at once when they start
_CLASH_PAUSE_S: Final = 0.05
_MAX_TOLD: Final = 1_000
_LOGGER = logging.getLogger("sipcap")


class ServerSink:
    """A Sink (see ``base.py``) over a connection that may get lost.

    A write is repeated at once, and once, where that is safe and likely to help: on a connection that had
    been lost before, after a commit whose outcome is in doubt (the ledger tells), after a deadlock, and when a
    table turns out to have changed. All else is up to the batcher.

    Args:
        driver: not yet connected.
        create: whether missing tables are created.
        schema: how records are stored; one of ``schemas.SCHEMAS``.
        budget: of new tables and partitions; None = any number.
        naming: what columns are called in the tables, but for HOMER 7's; None = as the module calls them.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        create: bool = True,
        schema: str = SIPCAPTURE,
        budget: Budget | None = None,
        naming: Naming | None = None,
    ) -> None:
        self._driver = driver
        driver.budget = budget
        if naming is not None and schema != HOMER7:
            driver.naming = naming
        self._create = create
        self._tables: dict[tuple[str, bool], Table] = {}
        self._forget_s = 0.0
        self._forms = forms_of(schema)
        self._batches = 0
        self._has_ledger = False
        self._in_doubt = False
        self._is_interrupted = False
        self._memory = Memory()
        self._last: tuple[str, Adjusted] = "", Adjusted()
        self._told: set[str] = set()

    def open(self) -> None:
        """Connect and try the ledger; see Sink."""
        driver = self._driver
        for attempt in range(1, _CLASHES + 1):
            try:
                driver.connect()
                self._find_ledger()
                if self._has_ledger:
                    driver.begin()
                    driver.claim(uuid.uuid4().hex, 0)  # others may try theirs at the same moment
                    driver.rollback()
            except driver.errors as error:
                is_clash = self._judge(error) is Trouble.CLASH
                driver.disconnect()
                if attempt == _CLASHES or not is_clash:
                    failure = DatabaseAway if driver.is_away(error) else CannotStart
                    raise failure(f"cannot use {driver.place}: {driver.text(error)}") from None
                time.sleep(attempt * _CLASH_PAUSE_S)
            else:
                return

    def close(self) -> None:
        """Disconnect; see Sink."""
        self._driver.disconnect()

    def remember_since(self, oldest_s: Callable[[], float]) -> None:
        """See RemembersBatches."""
        self._memory.oldest_s = oldest_s

    def interrupt(self) -> None:
        """End a write that does not come back; see Interruptible."""
        self._is_interrupted = True
        self._driver.interrupt()

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink."""
        was_connected, self._in_doubt = self._driver.connected, False
        try:
            return self._attempt(batch_id, tables)
        except self._driver.errors as error:
            trouble, failure = self._recover(error)
        except BaseException:
            self._driver.disconnect()  # in the middle of something
            raise
        if trouble is Trouble.LOST:
            again = was_connected or self._in_doubt
        else:
            again = trouble is Trouble.CLASH or (trouble is Trouble.REFUSED and self._has_changed(tables))
        if not again or self._is_interrupted:
            raise failure
        try:
            return self._attempt(batch_id, tables)
        except self._driver.errors as error:
            raise self._recover(error)[1] from None
        except BaseException:
            self._driver.disconnect()
            raise

    def _attempt(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        driver = self._driver
        for name in tables:
            driver.check_name(name)
        if not driver.connected:
            driver.connect()
            self._find_ledger()
        if time.monotonic() >= self._forget_s:  # columns may have come that no error tells of
            self._tables.clear()
            self._forget_s = time.monotonic() + SHAPE_KEEP_S
        self._clean_sometimes()
        loads = [load for name, rows in tables.items() for load in self._loads(name, rows)]
        if self._create:
            driver.make_room(loads)
        tally = Tally()
        driver.begin()
        if self._has_ledger and not driver.claim(batch_id, int(time.time())):
            driver.rollback()
            stored_id, adjusted = self._last
            return adjusted if stored_id == batch_id else Adjusted()
        driver.store(loads, tally)
        self._last = batch_id, tally.adjusted()
        self._in_doubt = True
        driver.commit()
        return tally.adjusted()

    def _recover(self, error: Exception) -> tuple[Trouble, SinkError]:
        """Leave the transaction, or the connection if it is gone; what happened, and how it is said."""
        driver, trouble = self._driver, self._judge(error)
        failure = SinkError(f"{driver.place}: {driver.text(error)}", transient=trouble is not Trouble.REFUSED)
        try:
            if trouble is not Trouble.LOST and driver.connected:
                driver.rollback()
                return trouble, failure
        except driver.errors:
            pass  # the next attempt connects again
        driver.disconnect()
        return trouble, failure

    def _judge(self, error: Exception) -> Trouble:
        return Trouble.REFUSED if isinstance(error, (Refused, UnicodeEncodeError)) else self._driver.trouble(error)

    # The ledger.

    def _find_ledger(self) -> bool:
        """Make sure of the ledger if that is possible; whether it was there already."""
        driver = self._driver
        was_there = driver.find(LEDGER) is not None
        if not was_there and self._create:
            try:
                self._create_table("batches", LEDGER)
            except driver.errors as error:
                if self._judge(error) is not Trouble.REFUSED:
                    raise
                driver.rollback()
        self._has_ledger = was_there or driver.find(LEDGER) is not None
        if not self._has_ledger:
            self._tell_once(
                LEDGER,
                f"{driver.place} has no table {LEDGER}, and it cannot be created: a batch whose commit is in doubt may"
                " be stored twice",
            )
        return was_there

    def _clean_sometimes(self) -> None:
        self._batches += 1
        if not self._has_ledger or self._batches % _LEDGER_CLEAN_EVERY != 1:
            return
        try:
            self._driver.clean_ledger(self._memory.forget_before_s())
        except self._driver.errors as error:
            if self._judge(error) is Trouble.LOST:
                raise
            _LOGGER.debug("%s: old batch ids are still there: %s", self._driver.place, self._driver.text(error))

    # The tables.

    def _loads(self, name: str, rows: Sequence[Row]) -> Iterator[Load]:
        """The rows of one table by kind: SIP and reports may share it."""
        for is_sip in (True, False):
            chosen = [row for row in rows if isinstance(row.record, SipRecord) is is_sip]
            if chosen:
                yield Load(self._known(name, is_sip=is_sip), chosen)

    def _known(self, name: str, *, is_sip: bool) -> Table:
        """What is known of a table; create it if it is not there."""
        table = self._tables.get((name, is_sip))
        if table is not None:
            return table
        found = self._driver.find(name)
        if found is None:
            if not self._create:
                raise Refused(f"table {name} does not exist, and --no-create is set")
            self._driver.spend(name, f"table {name}")
            self._create_table(self._forms[is_sip].kind, name)
            found = self._driver.find(name)
            if found is None:
                raise Refused(f"table {name} was created and is not there")
        shape = self._shape(found, is_sip=is_sip)
        if not shape.columns:
            raise Refused(f"table {name} has none of the columns of a message")
        if shape.missing:
            missing = ", ".join(shape.missing)
            self._tell_once(missing, f"table {name} has no column {missing}; what belongs there is not stored")
        if not found.transactional:
            self._tell_once(
                "transactions", f"table {name} knows no transactions: a batch that fails may be stored in part or twice"
            )
        names = [column.name for column in self._driver.naming.translated(found.columns)]
        form = self._forms[is_sip].for_table(names)
        table = self._tables[name, is_sip] = Table(name, shape, found.transactional, form)
        return table

    def _create_table(self, kind: str, name: str) -> None:
        """Create a table, again if other processes that do so got in the way."""
        for attempt in range(1, _CLASHES + 1):
            try:
                self._driver.create(kind, name)
            except self._driver.errors as error:
                if attempt == _CLASHES or self._judge(error) is not Trouble.CLASH:
                    raise
                self._driver.rollback()
                time.sleep(attempt * _CLASH_PAUSE_S)
            else:
                return

    def _shape(self, found: Found, *, is_sip: bool) -> Shape:
        columns = self._driver.naming.translated(found.columns)
        return self._forms[is_sip].shape(columns, takes_nul=self._driver.takes_nul)

    def _has_changed(self, names: Mapping[str, object]) -> bool:
        """Look again at tables; whether one of them is not what it was when it was learnt."""
        old = {key: self._tables.pop(key) for key in list(self._tables) if key[0] in names}
        try:
            if self._has_ledger and not self._find_ledger():
                return True
            for (name, is_sip), table in old.items():
                found = self._driver.find(name)
                if found is None or self._shape(found, is_sip=is_sip) != table.shape:
                    return True
                self._tables[name, is_sip] = table
        except self._driver.errors as error:
            self._recover(error)
        return False

    def _tell_once(self, key: str, text: str) -> None:
        if key not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(key)
            _LOGGER.warning("%s", text)
