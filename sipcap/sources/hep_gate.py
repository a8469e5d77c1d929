"""The one place where received HEP bytes become messages: counted, and checked for key and clock."""

from __future__ import annotations

import hmac
import time

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.limits import MAX_CLOCK_AHEAD_S, MIN_LIVE_TS_US
from sipcap.sources.senders import Senders
from sipcap.wire.hep import attach_frames, decode_datagram
from sipcap.wire.hep3 import USUAL
from sipcap.wire.message import Message


class HepGate:
    """Decodes what live HEP sockets receive.

    Args:
        stats: where to count.
        auth_key: refuse what does not carry this key; HEPv1 and v2 cannot, so they are refused too.
        senders: knows who sent what is refused; None = nobody does.
    """

    def __init__(self, stats: Counters, auth_key: bytes | None = None, senders: Senders | None = None) -> None:
        self._stats = stats
        self._auth_key = auth_key
        self._senders = senders or Senders(stats)

    def decode(self, datagrams: list[bytes]) -> list[Message]:
        """Decode datagrams (or frames of a stream); what cannot be decoded is counted by its reason."""
        stats = self._stats
        messages: list[Message] = []
        now_us = time.time_ns() // 1_000
        errors = 0
        refused: dict[str, bytes] = {}

        def decode_one(data: bytes) -> None:
            nonlocal errors
            first = len(messages)
            try:
                decode_datagram(data, messages, now_us)
            except DecodeError as error:
                errors += 1
                stats.rejected[error.reason] += 1
                refused[error.reason] = data
            # One reference, no copy: it is there for whoever forwards, or looks into chunks.
            if len(messages) - first == 1:
                messages[first].frame = data
            else:
                attach_frames(data, messages[first:])

        if USUAL is not None:
            stats.bytes += USUAL.decode(datagrams, messages, decode_one)
        else:
            for data in datagrams:
                decode_one(data)
            stats.bytes += sum(map(len, datagrams))
        stats.datagrams += len(datagrams)
        stats.received += len(messages) + errors
        if self._auth_key is not None:
            messages = self._authentic(messages, self._auth_key, refused)
        self._senders.settle(refused)
        self._check_clocks(messages, now_us)
        return messages

    def _authentic(self, messages: list[Message], key: bytes, refused: dict[str, bytes]) -> list[Message]:
        kept = [m for m in messages if m.auth_key is not None and hmac.compare_digest(m.auth_key, key)]
        if len(kept) < len(messages):
            self._stats.rejected["auth_key"] += len(messages) - len(kept)
            good = set(map(id, kept))
            refused["auth_key"] = next(m.frame for m in reversed(messages) if id(m) not in good)
        return kept

    def _check_clocks(self, messages: list[Message], now_us: int) -> None:
        """Give absurd times the arrival time (design 1.6); the sender's own stays in the envelope."""
        latest_us = now_us + MAX_CLOCK_AHEAD_S * 1_000_000
        for message in messages:
            ts_us = message.ts_us
            if ts_us and not MIN_LIVE_TS_US <= ts_us <= latest_us:
                message.extra = {**(message.extra or {}), "original_ts_us": ts_us}
                message.ts_us = now_us
                self._stats.clock_skew += 1
