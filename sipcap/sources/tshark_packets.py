"""What tshark says of the packets of a capture, to messages and counters: by the same rules as the native reader's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.sources.packet_decoder import has_time
from sipcap.sources.tshark_lines import SeenPacket, decode_line
from sipcap.sources.tshark_totals import Totals
from sipcap.wire.detect import is_keep_alive, looks_like_sip
from sipcap.wire.hep import attach_frames, decode_datagram
from sipcap.wire.media_reports import MediaReports
from sipcap.wire.message import Message

_TLS_RECORD: Final = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")
"""How a record of TLS begins: its type and version (RFC 8446 5.1)."""

_TOTALS_BEGIN: Final = b"====="


class TsharkPackets:
    """Reads the lines of tshark, of one capture after the other.

    Args:
        stats: ``packets``, ``bytes``, ``received``, ``rejected``, ``filtered``, ``truncated`` are counted here.
        skipped: counts, by reason, the packets that hold no message: they are in ``stats.packets`` only.
        ports: SIP is what has one of these ports; None: what tshark takes for SIP.
    """

    def __init__(self, stats: Counters, skipped: Counter[str], ports: range | None) -> None:
        self._stats = stats
        self._skipped = skipped
        self._ports = ports
        self._reports = MediaReports()
        self._totals: Totals | None = None
        self._seen: Counter[str] = Counter()  # packets of this capture: by what carried them, all, and their bytes
        self.has_opened_tls = False
        """A message was found in TLS."""

    def read(self, lines: Sequence[bytes]) -> tuple[list[Message], list[int]]:
        """The messages of some lines, and the times of their packets."""
        messages: list[Message] = []
        times: list[int] = []
        for line in lines:
            packet = self._packet(line)
            if packet is not None:
                self._stats.packets += 1
                self._stats.bytes += packet.captured
                self._seen.update({"packets": 1, "bytes": packet.length, packet.transport: 1})
                found = self._messages_of(packet)
                self._reports.relate(found)  # at once: an SDP lets the RTCP behind it pass a port filter
                messages += found
                times += [packet.ts_us] * len(found)
        self._stats.received += len(messages)
        return messages, times

    def _packet(self, line: bytes) -> SeenPacket | None:
        if not line:
            return None
        if self._totals is None and line.startswith(_TOTALS_BEGIN):
            self._totals = Totals()
        if self._totals is not None:
            self._totals.read(line)
            return None
        try:
            return decode_line(line)
        except DecodeError as error:
            self._stats.received += 1
            self._stats.rejected[error.reason] += 1
            return None

    def finish(self) -> None:
        """End a capture: count the packets that were not in its lines, if it was read to its end."""
        seen, totals = self._seen, self._totals or Totals()
        self._seen, self._totals = Counter(), None
        others = max(totals.frames - seen["packets"], 0)
        self._stats.packets += others
        self._stats.bytes += max(totals.bytes - seen["bytes"], 0)
        for reason in ("tls", "tcp"):
            count = min(max(totals.kinds[reason] - seen[reason], 0), others)
            others -= count
            self._skip(reason, count)
        self._skip("other", others)

    def _skip(self, reason: str, count: int = 1) -> None:
        if count:
            self._skipped[reason] += count

    def _messages_of(self, packet: SeenPacket) -> list[Message]:
        inner: list[Message] = []
        if packet.other is None:
            inner = [each for each in packet.messages if self._is_message(each)]
            if not inner:
                is_tls = any(_TLS_RECORD.match(each.payload) for each in packet.messages)
                self._skip("tls" if is_tls else "other")
            elif packet.transport == "tls":
                self.has_opened_tls = True
        elif not has_time(packet.ts_us, self._stats):
            return []
        elif packet.other.payload[:1] == b"H":
            self._unwrap_hep(packet.other.payload, inner, packet.ts_us)
        else:
            return self._report_of(packet.other)
        found = []
        for message in inner:
            message.ts_us = message.ts_us or packet.ts_us
            if self._is_on_ports(message):
                if has_time(packet.ts_us, self._stats):
                    found.append(message)
            else:
                self._stats.received += 1
                self._stats.filtered["ports"] += 1
        if found and packet.captured < packet.length:
            self._stats.truncated += 1
        return found

    def _unwrap_hep(self, datagram: bytes, messages: list[Message], ts_us: int) -> None:
        try:
            decode_datagram(datagram, messages, ts_us)
        except DecodeError as error:
            self._stats.received += 1
            self._stats.rejected[error.reason] += 1
        attach_frames(datagram, messages)

    def _report_of(self, message: Message) -> list[Message]:
        """The report that a datagram is, if it is RTCP and wanted."""
        reason = "other" if self._ports is None else "ports"
        try:
            is_wanted = self._is_on_ports(message) or self._reports.media.knows(message)
            if is_wanted and self._reports.report(message):
                return [message]
        except DecodeError as error:
            reason = error.reason
        self._skip(reason)
        return []

    def _is_on_ports(self, message: Message) -> bool:
        ports = self._ports
        return ports is None or message.source_port in ports or message.destination_port in ports

    def _is_message(self, message: Message) -> bool:
        if self._ports is None:
            return looks_like_sip(message.payload)
        # tshark was told that all on the ports is SIP; TLS without its keys is not.
        return not is_keep_alive(message.payload) and not _TLS_RECORD.match(message.payload)
