"""The table of spec section 12 as inputs, each with the columns that Kamailio 5.6.3 is known to store for it."""

from __future__ import annotations

from dataclasses import dataclass

from .messages import BASE, BASE_START, Message

# None stands for a message that the oracle refuses.
Expected = dict[str, str | int] | None


@dataclass(frozen=True, slots=True)
class Variation:
    """One row of the table."""

    name: str
    payload: bytes
    expected: Expected


BASE_ROW: dict[str, str | int] = {
    "method": "INVITE",
    "ruri": "sip:bob@biloxi.com:5070;transport=udp",
    "ruri_user": "bob",
    "ruri_domain": "biloxi.com",
    "from_user": "alice",
    "from_domain": "atlanta.com",
    "from_tag": "1928301774",
    "to_user": "bob",
    "to_tag": "",
    "contact_user": "alice",
    "contact_ip": "192.0.2.4",
    "contact_port": 5088,
    "cseq": "314159 INVITE",
    "proto": 1,
    "family": 2,
    "type": 1,
    "node": "homer01:2001",
    "correlation_id": "abc123@host",
}


def _row(name: str, message: Message | bytes, expected: Expected) -> Variation:
    return Variation(name, message if isinstance(message, bytes) else message.encode(), expected)


def _ruri(uri: str, user: str, domain: str) -> Variation:
    return _row(f"ruri {uri}", BASE.request(uri), {"ruri": uri, "ruri_user": user, "ruri_domain": domain})


def _refused(name: str, message: Message | bytes) -> Variation:
    return _row(name, message, None)


def _from(value: str, user: str, domain: str, tag: str) -> Variation:
    expected: Expected = {"from_user": user, "from_domain": domain, "from_tag": tag}
    return _row(f"from {value}", BASE.with_header(f"From: {value}"), expected)


def _contact(value: str, user: str, host: str, port: int) -> Variation:
    expected: Expected = {"contact_user": user, "contact_ip": host, "contact_port": port}
    return _row(f"contact {value}", BASE.with_header(f"Contact: {value}"), expected)


def _with(column: str, value: str, *lines: str) -> Variation:
    return _row(f"{column} from {' + '.join(lines)}", BASE.with_header(*lines), {column: value})


_TWO_CONTACTS = BASE.without("Contact").plus("Contact: <sip:a@h1>", "Contact: <sip:b@h2>")
_TWO_REASONS = BASE.plus("Reason: SIP;cause=200", "Reason: Q.850;cause=16")
_OPEN_END = BASE.plus("X-Last: 1").encode().removesuffix(b"\r\n\r\n")
_FOLDED = "a\r\n b\r\n\tc"


def _reply(start: str) -> Message:
    return BASE.started(start)


URIS = (
    _row("base", BASE, BASE_ROW),
    _ruri("sip:bob@[2001:db8::1]:5070", "bob", "[2001:db8::1]"),
    _ruri("tel:+1(201)555;phone-context=x", "+1(201)555", ""),
    _ruri("sip:biloxi.com", "", "biloxi.com"),
    _ruri("sip:bob:pw@h:1", "bob", "h"),
    _ruri("sip:+1234;npdi@h;user=phone", "+1234", "h"),
    _ruri("sip:+1234;npdi@h", "+1234;npdi", "h"),
    _refused("ruri http", BASE.request("http://x/")),
    _refused("ruri underscore in host", BASE.request("sip:bob@under_score.com")),
    _refused("ruri empty user", BASE.request("sip:@host")),
)

PARTIES = (
    _from("sip:alice@atlanta.com;tag=xx", "alice", "atlanta.com", "xx"),
    _from("<sip:alice@atlanta.com;tag=inside>;tag=out", "alice", "atlanta.com", "out"),
    _from('<sip:alice@atlanta.com>;tag="quoted"', "alice", "atlanta.com", "quoted"),
    _from('"a;b" <tel:123>;tag=q', "123", "", "q"),
    _refused("from bad", BASE.with_header("From: <bad>;tag=1")),
    _contact("*", "*", "", 0),
    _contact("<sip:a@h1>, <sip:b@h2:7>", "b", "h2", 7),
    _row("two contact headers", _TWO_CONTACTS, {"contact_user": "a", "contact_ip": "h1", "contact_port": 0}),
    _refused("contact empty", BASE.with_header("Contact:")),
    _refused("contact bad", BASE.with_header("Contact: <bad>")),
    _refused("contact port 99999", BASE.with_header("Contact: <sip:alice@192.0.2.4:99999>")),
)

HEADERS = (
    _row(
        "via spaced",
        BASE.with_header("Via: SIP / 2.0 / UDP a:1 ; branch = zz ; x"),
        {"via_1": "SIP / 2.0 / UDP a:1 ; branch = zz ; x", "via_1_branch": "zz"},
    ),
    _with("via_1_branch", "", "Via: SIP/2.0/UDP a:1"),
    _refused("via empty branch", BASE.with_header("Via: SIP/2.0/UDP a:1;branch=")),
    _refused("via missing", BASE.without("Via")),
    _refused("via bad", BASE.with_header("Via: bad")),
    _with("cseq", "1   INVITE  ", "CSeq:   1   INVITE  "),
    _with("cseq", "1 BYE", "CSeq: 1 BYE"),
    _with("cseq", "x INVITE", "CSeq: x INVITE"),
    _row("call-id compact spaced", BASE.without("Call-ID").plus("i:  sp@x  "), {"callid": "sp@x  "}),
    _refused("call-id twice", BASE.plus("Call-ID: other@host")),
    _refused("call-id missing", BASE.without("Call-ID")),
    _row("two reasons", _TWO_REASONS, {"reason": "SIP;cause=200"}),
    _with("user_agent", _FOLDED, f"User-Agent: {_FOLDED}"),
)

FRAMING = (
    _row("lf line ends", Message(line_end="\n"), BASE_ROW),
    _row("no blank line", _OPEN_END + b"\r\n", BASE_ROW),
    _refused("open last header", _OPEN_END),
    _row("reply empty reason", _reply("SIP/2.0 200 "), {"method": "200", "reply_reason": "", "type": 2}),
    _refused("reply no reason", _reply("SIP/2.0 200")),
    _row(
        "reply spaced reason",
        _reply("SIP/2.0 183 Session  Progress x "),
        {"method": "183", "reply_reason": "Session  Progress x ", "ruri": "", "type": 2},
    ),
)

_PAI, _PPI, _RPID = "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"
_DIGEST = 'Digest username="{}", realm="r", nonce="n", uri="sip:x", response="0"'

IDENTITIES = (
    _with("pid_user", "pai", f"{_PAI}: <sip:pai@x>, <tel:+99>"),
    _with("pid_user", "+99", f"{_PAI}: <tel:+99>", f"{_PPI}: <sip:ppi@x>"),
    _with("pid_user", "", f"{_PAI}: garbage", f"{_RPID}: <sip:rpid@x>"),
    _with("pid_user", "", f"{_PAI}: <sip:noUser.com>", f"{_PPI}: <sip:ppi@x>"),
    _with(
        "auth_user",
        "p1",
        f"Authorization: {_DIGEST.format('a1')}",
        f"Proxy-Authorization: {_DIGEST.format('p1')}",
    ),
    _with("auth_user", "", "Proxy-Authorization: Basic YTpi", f"Authorization: {_DIGEST.format('a1')}"),
    _with("rtp_stat", "B", "X-RTP-Stat: A", "X-RTP-Stat-Add: B", "P-RTP-Stat: C"),
    _with("rtp_stat", "F", "RTP-RxStat: D", "X-NG-RTP-STATS: E", "X-Siemens-RTP-stats: F"),
)

TABLE = (*URIS, *PARTIES, *HEADERS, *FRAMING, *IDENTITIES)

__all__ = ["BASE_ROW", "BASE_START", "TABLE", "Expected", "Variation"]
