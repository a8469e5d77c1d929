from collections.abc import Callable, Sequence
from typing import Any

from sipcap.activity import Seen
from sipcap.record import SipRecord
from sipcap.wire.message import Message

class SipTwin:
    def __init__(self, **settings: Any) -> None: ...
    def record(self, message: Message, received_us: int) -> SipRecord | None: ...
    def lines(
        self, messages: Sequence[Message], received_us: int, other: Callable[[Message], bytes], seen: Seen | None = None
    ) -> tuple[bytes, int]: ...
