from collections.abc import Callable, Iterable

from sipcap.wire.hep_chunks import Field
from sipcap.wire.message import Message

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
