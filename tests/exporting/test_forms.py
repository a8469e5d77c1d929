"""Records to packets, HEP and text, and back through the readers of this house and of tshark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from msgspec import UNSET

from sipcap.counters import Counters
from sipcap.exporting.base import Exporter
from sipcap.exporting.export import Export
from sipcap.exporting.hep import HepExporter
from sipcap.exporting.pcap import PacketMaker, PcapExporter, PcapngExporter
from sipcap.exporting.record_message import message_of_record
from sipcap.exporting.text import TextExporter
from sipcap.extract import Extractor
from sipcap.limits import MAX_EXPORT_CONNECTIONS
from sipcap.record import Record, SipRecord
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.wire.connection_encode import Connections
from sipcap.wire.frame_encode import Way
from sipcap.wire.hep import decode_datagram
from sipcap.wire.hep_encode import EncodeError
from sipcap.wire.message import Message
from tests.support import packets as p
from tests.support import rtcp as r
from tests.support.messages import BASE_TS_US, sip, sip_message
from tests.support.programs import run_tool
from tests.support.records import records

MACS = {"source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02"}
TOS = {"tos": 0}
LINKS: list[dict[str, Any]] = [
    {"tos": 0x60, **MACS},
    {"vlan": 100, "tos": 0, **MACS},
    {"tos": 0, "source_mac": "02:00:00:00:00:09"},
    {"vlan": 7, "tos": 0, "source_mac": "02:00:00:00:00:09"},
    {"tos": 184},
]


def record_of(number: int = 0, extra: dict[str, Any] | None = None, **changes: Any) -> Record:
    """The record of a realistic message."""
    fields: dict[str, Any] = {
        "payload": sip_message(number), "ts_us": BASE_TS_US + number, "source_ip": "192.0.2.1", "source_port": 5060,
        "destination_ip": "192.0.2.2", "destination_port": 5062, "ip_protocol": 17, "family": 2,
    }  # fmt: skip
    return Extractor().record(Message(**(fields | changes), extra=extra), 0)


def write(path: Path, exporter: Exporter, wanted: list[Record]) -> Counters:
    """Export to a file."""
    counters = Counters()
    counters.received = len(wanted)
    with path.open("wb") as file:
        export = Export(exporter, file.fileno(), counters)
        export.write(wanted)
        export.close()
    assert counters.imbalance() == 0
    return counters


def read(path: Path) -> list[Record]:
    """The records of a capture."""
    source = PcapSource(PcapOptions([str(path)]))
    source.open()
    extractor = Extractor()
    found = [extractor.record(message, 0) for batch in source for message in batch]
    source.close()
    return found


@pytest.mark.parametrize("extra", LINKS)
@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("form", [PcapExporter, PcapngExporter])
def test_capture_keeps_every_field_of_a_record(
    tmp_path: Path, extra: dict[str, Any], family: int, form: type[PcapExporter | PcapngExporter]
) -> None:
    """Addresses, ports, MACs, VLAN, TOS and microseconds are read back as they were."""
    addresses = {"source_ip": "2001:db8::1", "destination_ip": "2001:db8::2", "family": 10} if family == 10 else {}
    wanted = [record_of(number, extra, **addresses) for number in range(5)]
    write(tmp_path / "x", form(PacketMaker()), wanted)
    assert read(tmp_path / "x") == wanted


def test_pcapng_keeps_records_of_different_links_apart(tmp_path: Path) -> None:
    """What has MACs keeps them, and what has none gets none, in one file."""
    wanted = [record_of(number, extra) for number, extra in enumerate(LINKS)]
    write(tmp_path / "x.pcapng", PcapngExporter(PacketMaker()), wanted)
    fields = ("eth.src", "sll.src.eth", "vlan.id", "ip.dsfield", "frame.time_epoch")
    asked = [part for field in fields for part in ("-e", field)]
    said = run_tool("tshark", "-n", "-r", str(tmp_path / "x.pcapng"), "-T", "fields", *asked)
    lines = [line.split("\t") for line in said.splitlines() if "Running as user" not in line]
    assert [line[:4] for line in lines] == [
        [MACS["source_mac"], "", "", "0x60"],
        [MACS["source_mac"], "", "100", "0x00"],
        ["", "02:00:00:00:00:09", "", "0x00"],
        ["", "02:00:00:00:00:09", "7", "0x00"],
        ["", "", "", "0xb8"],
    ]
    assert lines[0][4].startswith("1700000000.123456")


def test_pcap_says_how_many_records_had_more_than_its_link_holds(tmp_path: Path) -> None:
    """A raw-IP file has no place for MACs; the records are there all the same."""
    exporter = PcapExporter(PacketMaker())
    write(tmp_path / "x.pcap", exporter, [record_of(0, LINKS[4]), record_of(1, LINKS[0]), record_of(2, LINKS[4])])
    assert exporter.reduced == 1
    assert len(read(tmp_path / "x.pcap")) == 3


@pytest.mark.parametrize(("proto", "ip_protocol"), [("tcp", 6), ("sctp", 132)])
def test_stream_transport_is_valid_for_tshark(tmp_path: Path, proto: str, ip_protocol: int) -> None:
    """No reader finds fault: tshark sees every message, no hole, no retransmission and no wrong checksum."""
    wanted: list[Record] = []
    for number in range(20):
        way: dict[str, Any] = {"source_port": 40_000, "destination_port": 5060}
        if number % 3 == 1:  # an answer
            way = {
                "source_ip": "192.0.2.2",
                "source_port": 5060,
                "destination_ip": "192.0.2.1",
                "destination_port": 40_000,
            }
        wanted.append(record_of(number, ip_protocol=ip_protocol, **way))
    long = sip(body=b"v" * 150_000, headers={"Content-Length": "150000", "Call-ID": "long@host"})
    if proto == "tcp":
        wanted.append(record_of(20, payload=long, ip_protocol=6, source_port=40_000, destination_port=5060))
    path = tmp_path / "x.pcap"
    counters = write(path, PcapExporter(PacketMaker()), wanted)
    assert counters.stored == len(wanted)
    options = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "sctp.checksum:CRC32C"]
    said = run_tool("tshark", "-n", "-r", str(path), *options, "-Y", "sip", "-T", "fields", "-e", "sip.Call-ID")
    ids = [line for line in said.splitlines() if "Running as user" not in line]
    assert ids == [record.callid for record in wanted if isinstance(record, SipRecord)]
    trouble = "tcp.analysis.flags || ip.checksum.status==0 || tcp.checksum.status==0 || sctp.checksum.status==0"
    said = run_tool("tshark", "-n", "-r", str(path), *options, "-Y", trouble)
    assert [line for line in said.splitlines() if "Running as user" not in line] == []


def test_websocket_is_valid_for_tshark(tmp_path: Path) -> None:
    """The handshake, masked frames of the client and plain ones of the server carry all messages."""
    wanted = [record_of(number, ip_protocol=6) for number in range(6)]
    for number, record in enumerate(wanted):
        record.proto, record.source_port, record.destination_port = 5, 50_000, 80
        if number % 2:
            record.source_port, record.destination_port = 80, 50_000
            record.source_ip, record.destination_ip = record.destination_ip, record.source_ip
    path = tmp_path / "x.pcap"
    write(path, PcapExporter(PacketMaker()), wanted)
    said = run_tool("tshark", "-n", "-r", str(path), "-Y", "websocket && sip", "-T", "fields", "-e", "sip.Call-ID")
    ids = [line for line in said.splitlines() if "Running as user" not in line]
    assert ids == [record.callid for record in wanted if isinstance(record, SipRecord)]


def test_udp_checksums_are_right_for_tshark(tmp_path: Path) -> None:
    """IPv4, IPv6, odd and even lengths."""
    wanted = [record_of(number, payload=sip(body=b"x" * number)) for number in range(4)]
    wanted += [
        record_of(n, payload=sip(body=b"x" * n), source_ip="2001:db8::1", destination_ip="::1", family=10)
        for n in range(4)
    ]
    path = tmp_path / "x.pcap"
    write(path, PcapExporter(PacketMaker()), wanted)
    said = run_tool("tshark", "-n", "-r", str(path), "-o", "udp.check_checksum:TRUE", "-Y", "udp.checksum.status==1")
    assert len([line for line in said.splitlines() if "Running as user" not in line]) == 8


@pytest.mark.parametrize("version", [1, 2, 3])
def test_capture_keeps_hep_if_it_is_told_to(tmp_path: Path, version: int) -> None:
    """Version, capture id, correlation id and node are read back; otherwise the message is plain SIP."""
    more: dict[str, Any] = {"capture_id": 77} if version > 1 else {}
    if version == 3:
        more |= {"correlation_id": "other", "extra": {"node_name": "n1", "vlan": 5}}
    wanted = [record_of(number, hep_version=version, **more) for number in range(3)]
    write(tmp_path / "x.pcap", PcapExporter(PacketMaker(keep_hep=True)), wanted)
    assert read(tmp_path / "x.pcap") == wanted
    write(tmp_path / "y.pcap", PcapExporter(PacketMaker()), wanted)
    assert [record.hep_version for record in read(tmp_path / "y.pcap")] == [UNSET] * 3


def test_report_becomes_hep_in_a_capture(tmp_path: Path) -> None:
    """What is no SIP is read back as the report that it was."""
    wanted = record_of(0, payload=b'{"a":1}', payload_type=5, hep_version=3, capture_id=1, correlation_id="c")
    counters = write(tmp_path / "x.pcap", PcapExporter(PacketMaker()), [wanted])
    assert (counters.stored, counters.reported) == (0, 1)
    assert read(tmp_path / "x.pcap") == [wanted]


def test_hep_stream_is_what_a_collector_reads() -> None:
    """Frames one behind the other decode to the same records."""
    wanted = [record_of(number, hep_version=3, capture_id=9) for number in range(5)]
    exporter = HepExporter()
    data = exporter.begin() + b"".join(map(exporter.add, wanted)) + exporter.end()
    messages: list[Message] = []
    decode_datagram(data, messages)
    assert [Extractor().record(message, 0) for message in messages] == wanted


def test_text_shows_time_way_and_message_without_control_characters() -> None:
    """The head line names everything; what could move a cursor is a picture."""
    record = record_of(0, payload=b"OPTIONS sip:a SIP/2.0\r\nSubject: \x1b[31mred\r\n\r\n")
    text = TextExporter().add(record).decode()
    assert text == (
        "2023-11-14 22:13:20.123456 UDP 192.0.2.1:5060 -> 192.0.2.2:5062 homer01\n"
        "OPTIONS sip:a SIP/2.0\nSubject: ␛[31mred\n\n"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_ip": "host.example"}, "address"),
        ({"source_port": 70_000}, "field"),
        ({"micro_ts": -1}, "time"),
        ({"micro_ts": 2**32 * 1_000_000}, "time"),
        ({"vlan": 5_000}, "vlan"),
        ({"source_mac": "zz"}, "mac"),
        ({"msg": "x" * 65_600}, "too_big"),
    ],
)
def test_record_that_no_packet_can_carry_is_rejected_by_its_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """It is counted, and the others are written."""
    bad = record_of(1)
    for key, value in changes.items():
        setattr(bad, key, value)
    counters = write(tmp_path / "x.pcap", PcapExporter(PacketMaker()), [record_of(0, TOS), bad, record_of(2, TOS)])
    assert (counters.stored, dict(counters.rejected)) == (2, {reason: 1})
    assert read(tmp_path / "x.pcap") == [record_of(0, TOS), record_of(2, TOS)]


@given(records)
def test_any_record_is_exported_or_refused_by_a_reason(record: Record) -> None:
    """Whatever a line of NDJSON can say does no harm."""
    message_of_record(record)
    for exporter in (
        PcapExporter(PacketMaker()), PcapngExporter(PacketMaker(keep_hep=True)), HepExporter(), TextExporter(),
    ):  # fmt: skip
        try:
            assert isinstance(exporter.begin() + exporter.add(record) + exporter.end(), bytes)
        except EncodeError as error:
            assert error.reason.isidentifier()


def test_connections_are_bounded() -> None:
    """A flood of port pairs does not fill the memory; a connection that was forgotten begins again."""
    connections = Connections()
    first = Way(bytes(4), 1, bytes(4), 5060)
    assert len(connections.tcp(b"x", first)) == 4
    assert len(connections.tcp(b"x", first)) == 1
    for number in range(MAX_EXPORT_CONNECTIONS):
        connections.sctp(b"x", Way(number.to_bytes(4, "big"), 2, bytes(4), 5060))
    assert len(connections._next) == MAX_EXPORT_CONNECTIONS
    assert len(connections.tcp(b"x", first)) == 4


def test_captured_rtcp_goes_back_as_rtcp(tmp_path: Path) -> None:
    """The report of a captured packet is read back as the same report; a broken one is refused."""
    path = tmp_path / "x.pcap"
    path.write_bytes(p.pcap([(BASE_TS_US, p.ethernet(p.ip4(p.udp(r.COMPOUND, 4001, 5001))))]))
    (wanted,) = read(path)
    broken = record_of(0, payload=b"[]", payload_type=5)
    counters = write(tmp_path / "y.pcap", PcapExporter(PacketMaker()), [wanted, broken])
    assert read(tmp_path / "y.pcap") == [wanted]
    assert dict(counters.rejected) == {"rtcp": 1}
    as_rtcp = ("-d", "udp.port==4001,rtcp")  # tshark reads no extension of a report: the first packet must do
    assert "Sender Report" in run_tool("tshark", "-n", "-r", str(tmp_path / "y.pcap"), *as_rtcp, "-Y", "rtcp.pt == 200")
