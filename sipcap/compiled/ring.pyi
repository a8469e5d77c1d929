from typing import TypeAlias

from typing_extensions import Buffer

from sipcap.wire.link import LinkType

_Packets: TypeAlias = list[tuple[int, bytes, LinkType]]

def framed(memory: Buffer, begin: int, link: LinkType, little: bool) -> _Packets | None: ...
def cooked(memory: Buffer, begin: int, link: LinkType, little: bool, with_header: bool) -> _Packets | None: ...
