"""Capture modes at work: which one a record goes to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from sipcap.batching import Batcher, BatchOptions
from sipcap.counters import Counters
from sipcap.errors import CannotStart, SinkError, Unwritten
from sipcap.lanes import Lane, Lanes
from sipcap.routes import Routes, make_route
from sipcap.routing import Router
from sipcap.sinks.base import Adjusted, Row, Sink
from sipcap.sinks.deferred import DeferredSink
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record, sip_record
from tests.support.sinks import Away, MemorySink


class Bench:
    """Three capture modes over sinks in memory; the first is for all records that name no other."""

    def __init__(
        self,
        *,
        honours: bool = True,
        schema: str = "sipcapture",
        interval_s: float = 60.0,
        routes: Routes | None = None,
        switch: Callable[[str], bool] | None = None,
    ) -> None:
        self.counters = Counters()
        self.sinks = {name: MemorySink() for name in ("own", "m1", "m2")}
        self.made: list[str] = []
        self._interval_s = interval_s
        self._schema = schema
        others = {name: partial(self._lane, name) for name in ("m1", "m2")}
        self.lanes = Lanes(self._lane("own"), others if honours else None, routes, switch)

    def _lane(self, name: str) -> Lane:
        self.made.append(name)
        batcher = Batcher(self.sinks[name], BatchOptions(size=4, interval_s=self._interval_s), self.counters)
        return Lane(name, Router(schema=self._schema), batcher)

    def add(self, number: int, *, method: str = "OTHER", cseq: str = "", **marks: object) -> None:
        """Add a record with these marks."""
        self.counters.received += 1
        self.lanes.add(sip_record(number, method=method, cseq=cseq), dict(marks))

    def numbers(self, name: str, table: str = "sip_capture") -> list[int]:
        """What is stored in a mode's table."""
        return [record.micro_ts - BASE_TS_US for record in self.sinks[name].tables.get(table, [])]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    caplog.set_level(logging.INFO, "sipcap")
    yield caplog


def test_record_goes_to_the_mode_that_it_names() -> None:
    """A mode is opened when the first record names it, once, and no mode gets another one's records."""
    bench = Bench()
    for number, mode in enumerate([None, "m1", "own", "m1", None]):
        bench.add(number, **({} if mode is None else {"_mode": mode}))
    bench.lanes.flush()
    assert (bench.numbers("own"), bench.numbers("m1"), bench.numbers("m2")) == ([0, 2, 4], [1, 3], [])
    assert bench.made == ["own", "m1"]
    assert bench.counters.imbalance() == 0


def test_mode_that_is_unknown_is_told_and_loses_no_record(said: pytest.LogCaptureFixture) -> None:
    """A record for a mode that is gone is stored with the others; the log stays bounded."""
    bench = Bench()
    for number in range(200):
        bench.add(number, _mode=f"gone{number}" * 50)
    bench.lanes.flush()
    assert len(bench.numbers("own")) == 200
    assert 1 <= len(said.messages) < 5
    assert len(said.messages[0]) < 250


def test_modes_do_not_count_where_there_is_one_database() -> None:
    """Whoever names the database on the command line means it."""
    bench = Bench(honours=False)
    bench.add(0, _mode="m1")
    bench.lanes.flush()
    assert (bench.numbers("own"), bench.made) == ([0], ["own"])


@pytest.mark.parametrize("mode", [7, None, ["m1"], {"m1": 1}])
def test_mode_that_is_no_text_does_not_count(mode: object) -> None:
    """A line made by hand may have anything there."""
    bench = Bench()
    bench.add(0, _mode=mode)
    bench.lanes.flush()
    assert bench.numbers("own") == [0]


@pytest.mark.parametrize(("schema", "table"), [("homer5", "meant"), ("homer7", "hep_proto_1_default")])
def test_table_that_a_record_names_is_taken_unless_tables_are_fixed(schema: str, table: str) -> None:
    """A dead letter of another schema must not make a table that no reader of HOMER 7 looks at."""
    bench = Bench(schema=schema)
    bench.add(0, _mode="m1", _table="meant", _error="why")
    bench.lanes.flush()
    assert bench.numbers("m1", table) == [0]


def test_flush_one_database_away_stores_the_others() -> None:
    """What a mode cannot store is counted and told, and the other modes' records are stored."""
    bench = Bench()
    bench.sinks["own"].trouble = Away()
    for number, mode in enumerate(("own", "m1", "m2", "own")):
        bench.add(number, _mode=mode)
    with pytest.raises(Unwritten, match="2 record"):
        bench.lanes.flush()
    assert (bench.numbers("m1"), bench.numbers("m2"), bench.lanes.unwritten) == ([1], [2], 2)
    assert bench.counters.imbalance() == 0


def test_due_is_that_of_the_mode_that_has_waited_longest() -> None:
    """Each mode's records are written in time, and only they."""
    bench = Bench(interval_s=0.0)
    assert bench.lanes.due_s == float("inf")
    bench.add(0, _mode="m2")
    assert bench.lanes.due_s < float("inf")
    bench.lanes.flush_due()
    assert (bench.numbers("m2"), bench.lanes.due_s) == ([0], float("inf"))


def test_deferred_sink_connects_with_its_first_batch_and_once() -> None:
    """A database that no record is for is left alone."""
    opened: list[MemorySink] = []

    def connect() -> Sink:
        opened.append(MemorySink())
        return opened[-1]

    sink = DeferredSink(connect)
    sink.open()
    sink.close()
    assert opened == []
    for number in range(2):
        assert sink.write(f"{number}", {"t": [Row(sip_record(number), {})]}) == Adjusted(1, 1)
    sink.close()
    sink.close()
    assert len(opened) == 1
    assert len(opened[0].tables["t"]) == 2


def test_deferred_sink_that_cannot_connect_is_a_database_that_is_away() -> None:
    """Its records are tried again, not lost with the command."""

    def connect() -> Sink:
        raise CannotStart("connection refused")

    sink = DeferredSink(connect)
    with pytest.raises(SinkError, match="connection refused") as caught:
        sink.write("1", {})
    assert caught.value.transient
    sink.close()


ROUTES = Routes([
    make_route("registrations", {"methods": "REGISTER", "table": "reg_%Y%m%d", "capture_mode": "m1"}),
    make_route("byes", {"methods": "BYE", "capture_mode": "m2"}),
    make_route("options", {"methods": "OPTIONS", "table": "opt"}),
    make_route("gone", {"methods": "INFO", "capture_mode": "gone", "table": "info"}),
])  # fmt: skip


def test_routes_send_records_to_modes_and_tables() -> None:
    """A table is one for the time of the message; a mode alone has its own table; no match is the default mode."""
    bench = Bench(routes=ROUTES)
    for number, method in enumerate(["REGISTER", "BYE", "OPTIONS", "INVITE", "INFO"]):
        bench.add(number, method=method)
    bench.lanes.flush()
    assert bench.numbers("m1", "reg_20231114") == [0]
    assert bench.numbers("m2") == [1]
    assert (bench.numbers("own", "opt"), bench.numbers("own"), bench.numbers("own", "info")) == ([2], [3], [4])
    assert bench.counters.imbalance() == 0


def test_routes_do_not_count_for_a_record_that_names_its_place() -> None:
    """What a hook or a dead letter says comes first, also if it names one of the two only."""
    bench = Bench(routes=ROUTES)
    bench.add(0, _table="mine", method="REGISTER")
    bench.add(1, _mode="m2", method="REGISTER")
    bench.add(2, _mode="own", _table="both", method="REGISTER")
    bench.add(3, _error="why", method="REGISTER")
    bench.lanes.flush()
    assert (bench.numbers("own", "mine"), bench.numbers("m2"), bench.numbers("own", "both")) == ([0], [1], [2])
    assert bench.numbers("m1", "reg_20231114") == [3]


def test_routes_where_there_is_one_database_choose_tables() -> None:
    """Whoever names the database on the command line means it; the tables still count."""
    bench = Bench(honours=False, routes=ROUTES)
    bench.add(0, method="REGISTER")
    bench.lanes.flush()
    assert (bench.numbers("own", "reg_20231114"), bench.made) == ([0], ["own"])


def test_routes_where_tables_are_fixed_choose_the_mode_only() -> None:
    """HOMER 7's readers know its tables by name."""
    bench = Bench(schema="homer7", routes=ROUTES)
    bench.add(0, method="REGISTER", cseq="1 REGISTER")
    bench.lanes.flush()
    assert bench.numbers("m1", "hep_proto_1_registration") == [0]


def test_routes_for_all_types_keep_reports_out_of_the_tables_of_sip() -> None:
    """Their columns differ: only a route that names a HEP type gives its table to reports; its mode counts anyway."""
    rtcp = make_route("rtcp", {"hep_type": "5", "table": "qos"})
    rest = make_route("rest", {"table": "calls_%Y", "capture_mode": "m1"})
    bench = Bench(routes=Routes([rtcp, rest]))
    bench.counters.received += 3
    for record in (sip_record(0), report_record(1, payload_type=5), report_record(2, payload_type=34)):
        bench.lanes.add(record, {})
    bench.lanes.flush()
    assert (bench.numbers("own", "qos"), bench.numbers("m1", "calls_2023")) == ([1], [0])
    assert bench.numbers("m1", "report_capture") == [2]


def test_switch_keeps_back_what_is_for_a_mode_that_is_off() -> None:
    """Each mode has its own switch, asked for each record; what is kept back is counted."""
    off: set[str] = {"m1"}
    bench = Bench(routes=ROUTES, switch=lambda mode: mode not in off)
    for number in range(4):
        bench.add(number, method="REGISTER")
        bench.add(10 + number, method="INVITE")
        off ^= {"m1"} if number == 1 else set()
    off |= {"own"}
    bench.add(20, method="INVITE")
    bench.add(21, _mode="own")
    bench.lanes.flush()
    assert bench.numbers("m1", "reg_20231114") == [2, 3]
    assert bench.numbers("own") == [10, 11, 12, 13]
    assert bench.counters.filtered == {"capture_off": 4}
    assert bench.counters.imbalance() == 0
