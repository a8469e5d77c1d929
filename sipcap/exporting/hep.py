"""Records as a stream of HEPv3 frames, as HEP over TCP has them."""

from __future__ import annotations

from sipcap.exporting.record_message import message_of_record
from sipcap.record import Record
from sipcap.wire.hep_encode import encode_hep


class HepExporter:
    """One HEPv3 frame behind the other; see Exporter. A collector takes the file over TCP: ``nc HOST 9060``."""

    def begin(self) -> bytes:
        """Nothing: a stream has no header."""
        return b""

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, record: Record) -> bytes:
        """One frame; raises EncodeError as ``encode_hep``."""
        return encode_hep(message_of_record(record))
