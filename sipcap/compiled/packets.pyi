from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sipcap.wire.link import LinkType
from sipcap.wire.message import Message

class UsualPackets:
    taken: int
    def __init__(
        self,
        message_type: type[Message],
        forms: dict[LinkType, tuple[int, int]],
        ip_text: Callable[[bytes], str],
        link_fields: Callable[[LinkType, bytes, int], dict[str, Any]],
        ports: Iterable[int] | None,
        tunnels: Iterable[int],
    ) -> None: ...
    def decode(
        self,
        packets: Sequence[tuple[int, bytes, LinkType]],
        messages: list[Message],
        times: list[int],
        reference: Callable[[int, bytes, LinkType, list[int]], None],
    ) -> tuple[int, int]: ...

def relate(
    messages: Iterable[Message],
    sip_payload: int,
    sdp: bytes,
    note: Callable[[bytes], None],
    report: Callable[[Message], None],
) -> None: ...
