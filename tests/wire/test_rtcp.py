"""RTCP to JSON and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.wire.hep_encode import EncodeError
from sipcap.wire.rtcp import decode_rtcp, looks_like_rtcp
from sipcap.wire.rtcp_encode import encode_rtcp
from tests.support import rtcp as r


def test_sender_report_has_the_keys_of_heplify() -> None:
    """Names and values that HOMER's readers look for."""
    assert decode_rtcp(r.sender_report(1, [r.block(9)])) == {
        "sender_information": {
            "ntp_timestamp_sec": 3_900_000_000, "ntp_timestamp_usec": 500_000, "rtp_timestamp": 160, "packets": 10,
            "octets": 1_600,
        },
        "ssrc": 1,
        "type": 200,
        "report_count": 1,
        "report_blocks": [
            {
                "source_ssrc": 9, "fraction_lost": 3, "packets_lost": -1, "highest_seq_no": 70_000, "ia_jitter": 7,
                "lsr": 5, "dlsr": 6,
            }
        ],
    }  # fmt: skip


def test_compound_is_read_whole() -> None:
    """All reports, blocks, items and extended blocks are there, not the first of each alone."""
    values = decode_rtcp(r.COMPOUND)
    assert [block["source_ssrc"] for block in values["report_blocks"]] == [9, 10, 11]
    assert values["report_count"] == 3
    assert (values["type"], values["ssrc"], values["extension"]) == (200, 1, b"extn".hex())
    assert values["further_reports"] == [{"ssrc": 2, "type": 201, "report_count": 1}]
    assert values["sdes_information"] == [
        {"ssrc": 1, "type": 1, "text": "cname"},
        {"ssrc": 1, "type": 6, "text": "tool ä"},
        {"ssrc": 2, "type": 0, "text": ""},
    ]
    assert (values["sdes_ssrc"], values["sdes_report_count"]) == (1, 3)
    assert values["bye"] == [{"ssrcs": [1], "reason": "why"}]
    assert values["app"] == [{"subtype": 3, "ssrc": 1, "name": "name", "data": b"data".hex()}]
    assert values["feedback"] == [{"type": 205, "format": 1, "ssrc": 1, "media_ssrc": 9, "data": b"nack".hex()}]
    (xr,) = values["xr"]
    assert [block["type"] for block in xr["blocks"]] == [7, 4, 5, 1]
    assert values["report_blocks_xr"] == {
        "type": 7, "id": 9, "fraction_lost": 1, "fraction_discard": 2, "burst_density": 3, "gap_density": 4,
        "burst_duration": 500, "gap_duration": 600, "round_trip_delay": 70, "end_system_delay": 80,
        "signal_level": -20, "noise_level": -60, "rerl": 55, "gmin": 16, "r_factor": 93, "ext_r_factor": 127,
        "mos_lq": 41, "mos_cq": 40, "rx_config": 48, "jb_nominal": 20, "jb_maximum": 40, "jb_abs_max": 60,
    }  # fmt: skip


def test_compound_comes_back_as_the_same_values() -> None:
    """JSON → RTCP → JSON, through the text of a report."""
    values = msgspec.json.decode(msgspec.json.encode(decode_rtcp(r.COMPOUND)))
    assert decode_rtcp(encode_rtcp(values)) == values


def test_chunks_without_items_come_back_as_they_were() -> None:
    """Also between others of the same source."""
    item = [(1, b"a")]
    data = r.receiver_report() + r.sdes((7, []), (7, item), (7, []), (7, []), (8, item), (8, item))
    values = decode_rtcp(data)
    assert decode_rtcp(encode_rtcp(values)) == values


def test_padding_is_left_out() -> None:
    """The padding of the last packet is no block and no item."""
    padded = r.packet(201, b"\0\0\0\2" + r.block(9), 1, padding=4)
    assert decode_rtcp(padded) == decode_rtcp(r.receiver_report(2, [r.block(9)]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\xc9\0\1",
        b"\x80\xc9\0\2\0\0\0\1",  # longer than the datagram
        b"\x40\xc9\0\1\0\0\0\1",  # version 1
        b"\x80\xc7\0\1\0\0\0\1",  # type 199
        b"\x81\xc9\0\1\0\0\0\1",  # a block that is not there
        b"\x80\xc9\0\1\0\0\0\1\0",  # a byte behind it
        r.packet(203, b"", padding=4),  # a BYE of nobody
        r.receiver_report() + b"\x80\x00\0\1\0\0\0\1",  # RTP behind it
        r.packet(201, b"\0\0\0\2", padding=2)[:-1] + b"\x63",
    ],
)
def test_what_is_no_rtcp_is_refused(data: bytes) -> None:
    """Its lengths do not add up."""
    with pytest.raises(DecodeError, match=r"^rtcp$"):
        decode_rtcp(data)


@pytest.mark.parametrize("size", range(len(r.COMPOUND)))
def test_compound_cut_anywhere_is_refused_or_ends_between_packets(size: int) -> None:
    """A cut packet is never half read."""
    try:
        values = decode_rtcp(r.COMPOUND[:size])
    except DecodeError:
        return
    assert decode_rtcp(encode_rtcp(values)) == values


@given(st.binary(max_size=200) | st.binary(max_size=120).map(lambda data: r.COMPOUND + data))
def test_any_bytes_are_rtcp_or_refused(data: bytes) -> None:
    """Nothing but DecodeError comes out of them, and what is read can be written again."""
    try:
        values = decode_rtcp(data)
    except DecodeError as error:
        assert error.reason == "rtcp"
        return
    assert looks_like_rtcp(data)
    try:
        assert decode_rtcp(encode_rtcp(values)) == values
    except EncodeError:
        assert "\ufffd" in str(values)  # bytes that were no text have become longer


@given(
    st.lists(
        st.sampled_from(
            [
                r.sender_report(5, [r.block()] * 31),
                r.receiver_report(),
                r.sdes((7, [(1, b"a" * 255)])),
                r.bye(),
                r.xr(r.voip()),
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_compound_comes_back(packets: list[bytes]) -> None:
    """Whatever stands in it, and however often."""
    data = b"".join(packets)
    if not looks_like_rtcp(data):  # SDES alone is no report
        return
    values = decode_rtcp(data)
    assert decode_rtcp(encode_rtcp(values)) == values


KEYS = ("type", "ssrc", "report_blocks", "sender_information", "sdes_information", "bye", "app", "xr")
PIECES: list[Any] = [
    None, True, -1, 200, 201, 2**40, "", "x", [], {}, [[]], [{}], [None], {"ssrc": 1}, [{"ssrc": 1, "blocks": [{}]}],
    [{"ssrc": 1, "type": 1, "text": 1}], [{"ssrcs": ["x"]}], [{"subtype": 99, "ssrc": 1, "name": "n", "data": "zz"}],
]  # fmt: skip
"""What a report that somebody else wrote may say in the place of what is expected."""


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PIECES)))
def test_any_json_is_encoded_or_refused(values: dict[str, Any]) -> None:
    """Reports that somebody else wrote do no harm."""
    try:
        assert encode_rtcp(values)
    except EncodeError as error:
        assert error.reason == "rtcp"
