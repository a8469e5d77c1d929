"""What tshark, and what the native reader, finds in a capture."""

from __future__ import annotations

from pathlib import Path

from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.sources.replayed import ReplaySource
from sipcap.sources.tshark import TsharkOptions, TsharkSource
from sipcap.wire.message import Message


def seen(path: Path | str, **options: object) -> tuple[list[Message], TsharkSource]:
    """All messages that tshark finds in a capture."""
    source = TsharkSource(TsharkOptions([str(path)], **options))  # type: ignore[arg-type]
    return read_all(source), source


def read_all(source: ReplaySource) -> list[Message]:
    """All messages of a source that is not open yet; each has a time, and all that was received is counted."""
    source.open()
    messages: list[Message] = []
    for batch in source:
        assert len(batch) == len(source.packet_times)
        messages += batch
    source.close()
    assert source.stats.received == len(messages) + source.stats.rejected.total() + source.stats.filtered.total()
    return messages


def native(path: Path, ports: range | None = None) -> list[Message]:
    """All messages that the native reader finds."""
    source = PcapSource(PcapOptions([str(path)], ports))
    source.open()
    messages = [message for batch in source for message in batch]
    source.close()
    return messages


def packets_in(path: Path) -> tuple[int, int]:
    """Packets and bytes of a capture, as the native reader counts them."""
    source = PcapSource(PcapOptions([str(path)]))
    source.open()
    assert list(source)
    source.close()
    return source.stats.packets, source.stats.bytes
