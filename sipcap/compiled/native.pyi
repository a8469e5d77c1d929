from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from typing_extensions import Buffer

from sipcap.activity import Seen
from sipcap.record import SipRecord
from sipcap.wire.capture_frames import Frame, Interface
from sipcap.wire.hep_chunks import Field
from sipcap.wire.link import LinkType
from sipcap.wire.message import Message

def cut_records(
    data: bytes,
    at: int,
    room: int,
    frames: list[Frame],
    interface: Interface,
    little: bool,
    header_bytes: int,
    units: int,
    bound: int,
) -> tuple[int, int]: ...
def cut_blocks(
    data: bytes, at: int, room: int, frames: list[Frame], interfaces: list[Interface], little: bool
) -> int: ...
def packets_of(frames: list[Frame]) -> list[tuple[int, bytes, LinkType]]: ...

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

_Packets: TypeAlias = list[tuple[int, bytes, LinkType]]

def framed(memory: Buffer, begin: int, link: LinkType, little: bool) -> _Packets | None: ...
def cooked(memory: Buffer, begin: int, link: LinkType, little: bool, with_header: bool) -> _Packets | None: ...

class UsualFrames:
    taken: int
    def __init__(
        self,
        message_type: type[Message],
        ip_text: Callable[[bytes], str],
        magics: tuple[bytes, ...],
        fields: dict[int, Field],
        min_sizes: dict[int, int],
    ) -> None: ...
    def head(self, data: bytes, offset: int, end: int) -> Message | None: ...
    def decode(
        self, datagrams: Iterable[bytes], messages: list[Message], reference: Callable[[bytes], None]
    ) -> int: ...

class SipTwin:
    def __init__(self, **settings: Any) -> None: ...
    def record(self, message: Message, received_us: int) -> SipRecord | None: ...
    def lines(
        self, messages: Sequence[Message], received_us: int, other: Callable[[Message], bytes], seen: Seen | None = None
    ) -> tuple[bytes, int]: ...
