"""The torture messages of RFC 4475: each gives a record with what it says.

The files are not part of the repository (see the corpus of the interoperability tests); without them, skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.errors import DecodeError
from sipcap.extract import Extractor
from sipcap.record import SipRecord, message_bytes
from sipcap.wire.message import Message
from tests.conftest import ROOT

FOLDER = ROOT.parent / "shared" / "corpus" / "rfc4475"
FILES = sorted(FOLDER.glob("*.dat"))
pytestmark = pytest.mark.skipif(not FILES, reason="the messages of RFC 4475 are not here")

_INTMETH_USER = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"

# Section of the RFC: what is odd about the message, and the columns that show it.
EXPECTED: dict[str, dict[str, object]] = {
    # 3.1.1.1: folds and blanks everywhere, names in any case, several Vias in short form
    "wsinv": {
        "ruri": "sip:vivekg@chair-dnrc.example.com;unknownparam", "to_user": "vivekg", "to_tag": "1918181833n",
        "from_user": "jdrosen", "from_domain": "example.com", "from_tag": "98asjd8", "cseq": "0009\r\n  INVITE",
        "via_1": "SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw", "via_1_branch": "390skdjuw",
        "contact_user": "jdrosen", "contact_ip": "example.com", "callid": "wsinv.ndaksdj@192.0.2.1",
    },
    # 3.1.1.2: every character that a token may have
    "intmeth": {
        "method": "!interesting-Method0123456789_*+`.%indeed'~", "ruri_user": _INTMETH_USER,
        "ruri_domain": "example.com", "from_user": "mundane", "from_tag": "_token~1'+`*%!-.", "to_user": _INTMETH_USER,
        "callid": "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", "via_1_branch": "z9hG4bK-.!%66*_+`'~",
    },
    # 3.1.1.3 to 3.1.1.5: escapes stay as they are, %00 and in header names too
    "esc01": {"ruri_user": "sips%3Auser%40example.com", "from_user": "I%20have%20spaces", "to_user": "%75se%72"},
    "escnull": {"to_user": "null-%00-null", "contact_user": "%00"},
    "esc02": {"method": "RE%47IST%45R", "cseq": "29344 RE%47IST%45R", "contact_user": "alias1"},
    # 3.1.1.6: no blank between display name and bracket
    "lwsdisp": {"from_user": "caller", "from_domain": "example.com", "from_tag": "323"},
    # 3.1.1.7: long values are not cut
    "longreq": {"from_tag": "1" + "298" * 50 + "2424", "via_1": "SIP/2.0/TCP sip33.example.com"},
    # 3.1.1.8: a second request behind the first is body
    "dblreq": {"method": "REGISTER", "callid": "dblreq.0ha0isndaksdj99sdfafnl3lk233412"},
    # 3.1.1.9: parameters in the user, 3.1.1.10: an unknown transport
    "semiuri": {"ruri_user": "user;par=u%40example.net", "ruri_domain": "example.com"},
    "transports": {"method": "OPTIONS"},
    # 3.1.1.11: binary parts keep every byte
    "mpart01": {"method": "MESSAGE", "contact_ip": "127.0.0.1", "contact_port": 5070},
    # 3.1.1.12: a reason phrase in another alphabet; 3.1.1.13: none
    "unreason": {"reply_reason": "= 2**3 * 5**2 но сто девяносто девять - простое", "type": 2},
    "noreason": {"method": "100", "reply_reason": "", "type": 2},
    # 3.1.2: invalid messages, of which the module refuses many
    "badinv01": {"from_tag": "134161461246", "via_1": "SIP/2.0/UDP 192.0.2.15;;,;,,", "contact_user": "joe"},
    "clerr": {"method": "INVITE", "content_type": "application/sdp"},
    "ncl": {"cseq": "0 INVITE"},
    "scalar02": {"cseq": "36893488147419103232 REGISTER", "contact_ip": "host129.example.com"},
    "scalarlg": {"method": "503", "cseq": "9292394834772304023312 OPTIONS"},
    "quotbal": {"to_user": "j.user", "to_domain": "example.com"},
    "ltgtruri": {"ruri": "<sip:user@example.com>", "ruri_user": "user", "ruri_domain": "example.com"},
    "lwsruri": {"ruri": "sip:user@example.com; lr", "ruri_user": "user", "ruri_domain": "example.com"},
    "lwsstart": {"ruri": "sip:user@example.com", "ruri_user": "user"},
    "trws": {"ruri": "sip:remote-target@example.com", "ruri_user": "remote-target"},
    "escruri": {"ruri": "sip:user@example.com?Route=%3Csip:example.com%3E", "ruri_domain": "example.com"},
    "regbadct": {"contact_user": "user", "contact_ip": "example.com"},
    "badaspec": {"to_user": "t.watson", "to_domain": "example.org"},
    "baddn": {"from_user": "a.g.bell", "from_domain": "example.com"},
    "badvers": {"method": "OPTIONS", "ruri_user": "t.watson"},
    "mismatch01": {"method": "OPTIONS", "cseq": "8 INVITE"},
    "mismatch02": {"method": "NEWMETHOD", "cseq": "8 INVITE"},
    "bigcode": {"method": "4294967301", "reply_reason": "better not break the receiver"},
    # 3.2 and 3.3: application trouble
    "badbranch": {"via_1_branch": "z9hG4bK"},
    "insuf": {"callid": "", "from_user": "", "to_user": "", "via_1_branch": "z9hG4bKkdj.insuf"},
    "unkscm": {"ruri": "nobodyKnowsThisScheme:totallyopaquecontent", "ruri_user": "", "ruri_domain": ""},
    "novelsc": {"ruri": "soap.beep://192.0.2.103:3002", "ruri_user": ""},
    "unksm2": {"from_user": "", "from_domain": "", "from_tag": "3234233", "to_user": "", "contact_user": ""},
    "regaut01": {"auth": "NoOneKnowsThisScheme opaque-data=here", "auth_user": ""},
    "multi01": {"callid": "multi01.98asdh@192.0.2.1", "cseq": "5 INVITE", "to_user": "user", "from_tag": "3413415"},
    "mcl01": {"from_user": "other", "from_domain": "example.net"},
    "bcast": {"method": "200", "via_1_branch": "z9hG4bK1324923"},
    "regescrt": {"contact_user": "user", "contact_ip": "example.com"},
    "cparam01": {"contact_user": "+19725552222", "contact_ip": "gw1.example.net", "contact_port": 0},
    # 3.4: RFC 2543 had no magic cookie and no tag
    "inv2543": {"to_user": "+16505552222", "to_domain": "ss1.example.net", "from_tag": "", "via_1_branch": ""},
    # not in the RFC: no version, no blanks, no colons, no scheme
    "test": {"method": "INVITE", "ruri": "sip:alan@jasomi.com", "callid": "test.0ha0isndaksdj@192.0.2.1"},
}  # fmt: skip


def _record(path: Path) -> SipRecord:
    record = Extractor().record(Message(path.read_bytes()), 1)
    assert isinstance(record, SipRecord)
    return record


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_torture_message_gives_a_record_with_its_bytes(path: Path) -> None:
    """Valid or not, all of them are SIP; none is refused, and every byte is kept."""
    record = _record(path)
    assert message_bytes(record) == path.read_bytes()
    assert record.method
    assert record.type == (2 if path.read_bytes().startswith(b"SIP/") else 1)


@pytest.mark.parametrize("name", EXPECTED)
def test_torture_message_shows_what_it_says(name: str) -> None:
    """The columns that the message's oddity touches."""
    record = _record(FOLDER / f"{name}.dat")
    assert {column: getattr(record, column) for column in EXPECTED[name]} == EXPECTED[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_torture_message_cut_anywhere_gives_a_record_or_a_reason(path: Path) -> None:
    """From the end of the start line on, a cut message is still a message."""
    data = path.read_bytes()
    record_of = Extractor().record
    whole = data.index(b"\r\n")
    for end in range(1, len(data)):
        try:
            record = record_of(Message(data[:end]), 1)
        except DecodeError as error:
            assert error.reason == "not_sip"
            assert end < whole
        else:
            assert message_bytes(record) == data[:end]
