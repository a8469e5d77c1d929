"""How the records of each schema are stored: columns, values, and how these fit a table that exists (design 1.6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS
from sipcap.schemas import HOMER7
from sipcap.sinks.base import Row
from sipcap.sinks.homer7_form import KIND, Homer7Form
from sipcap.sinks.homer7_tables import usual_name as homer7_name
from sipcap.sinks.rows import REPORT_ROW, SIP_ROW, RowMaker
from sipcap.sinks.shape import Column, Shape, Tally

_USUAL_NAMES: Final = {"sip": "sip_capture", "report": "report_capture", "batches": "sipcap_batches"}
_SIP_ONLY: Final = frozenset(SIP_COLUMNS) - frozenset(REPORT_COLUMNS)


class Form(Protocol):
    """One kind of record in one schema."""

    @property
    def kind(self) -> str:
        """The file of ``sql/<database>/`` that defines its tables."""

    @property
    def columns(self) -> Sequence[str]:
        """What is stored of a record."""

    def for_table(self, names: Iterable[str]) -> Form:
        """The form for a table with these columns, by our names."""

    def rows(self, rows: Iterable[Row], tally: Tally) -> Iterator[tuple[Any, ...]]:
        """The values of ``columns`` of each row; what no table of the schema can hold is changed and counted."""

    def shape(self, existing: Sequence[Column], *, takes_nul: bool) -> Shape:
        """How these values are made to fit a table."""


class ModuleForm:
    """The columns of the sipcapture module, ``msg_raw`` and ``envelope``."""

    def __init__(self, kind: str, columns: Sequence[str], maker: RowMaker) -> None:
        self.kind = kind
        self.columns = columns
        self._values = maker.values

    def for_table(self, names: Iterable[str]) -> Form:
        """See Form. A report in a table of SIP says what it is."""
        if self.kind != "report" or _SIP_ONLY.isdisjoint(names):
            return self
        return ModuleForm(self.kind, self.columns, RowMaker(REPORT_COLUMNS, is_marked=True))

    def rows(self, rows: Iterable[Row], tally: Tally) -> Iterator[tuple[Any, ...]]:  # noqa: ARG002  # all is exact
        """See Form."""
        return map(self._values, rows)

    def shape(self, existing: Sequence[Column], *, takes_nul: bool) -> Shape:
        """See Form."""
        return Shape(self.columns, existing, takes_nul=takes_nul)


def forms_of(schema: str) -> Mapping[bool, Form]:
    """The forms of SIP (true) and of reports (false) in one of ``schemas.SCHEMAS``."""
    if schema == HOMER7:
        return dict.fromkeys((True, False), Homer7Form())
    return {
        True: ModuleForm("sip", SIP_ROW, RowMaker(SIP_COLUMNS)),
        False: ModuleForm("report", REPORT_ROW, RowMaker(REPORT_COLUMNS)),
    }


def usual_name(kind: str, table: str) -> str:
    """The table in a file of definitions that the wanted one takes the place of."""
    return homer7_name(table) if kind == KIND else _USUAL_NAMES[kind]
