from sipcap.wire.capture_frames import Frame, Interface
from sipcap.wire.link import LinkType

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
