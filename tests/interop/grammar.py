"""Odd spellings of each part of a message, one at a time: what a table of examples does not think of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .messages import BASE, Message

_URIS = (
    "sip:a@b", "sip:a@b:5", "sip:a:p@b", "sip:a;x=1@b", "sip:a?x@b", "sip:b", "sip:b:5060", "sip:b;lr", "sip:b?h=1",
    "sip:a@b;p=@", "sip:a@b?x=y@z", "sip:a@b;user=phone", "sip:+1;n@b;User=phone", "sip:+1;n@b;user=PHONE",
    "sip:+1;n@b;user=phone;x", "sip:+1;n@b;xuser=phone", "sip:+1;n@b;user=phonex", "sip:+1;n;m@b;user=phone",
    "sip:;n@b;user=phone", "sip:+1;user=phone@b", "sip:+1:pw;n@b;user=phone", "sip:1;2@b?user=phone", "sips:a@b",
    "SIPS:a@b", "sip:a%40b@c", "sip:a/b@c", "sip:a&=+$,b@c", "sip:a,b@c", "sip:a@[::1]", "sip:a@[::1]:5", "sip:[::1]",
    "sip:[::1]:5060;lr", "sip:a@1.2.3.4", "sip:a@b.", "sip:a@-b-", "sip:a@b:", "sip:a@b:0", "sip:a@b:00005060",
    "sip:a@b:65535", "sip:a@b:65536", "sip:a@b;maddr=c;ttl=1;method=X;transport=tcp;lr=on", "tel:1", "tel:+1-2.3(4)",
    "tel:+1;ext=1;phone-context=+3", "tel:1@b", "tel:1?x=y", "TEL:1", "tel:abc", "tel:*21#", "urn:service:sos",
    "urn:a:b:c", "urn:a", "sip:a@b c", "sip: a@b", " sip:a@b", "sip:a@b ", "sip:aü@b", 'sip:"a"@b', "sip:a@b@c",
    "sip::p@b", "sip:a:@b", "sip:a@B.C", "sip:a@b_c", "sip:*@b", "sip:a!~*'()@b", "im:a@b", "sip:5060", "sip:1234:5060",
    "sip:a.b:c@d:1", "sip:a@b;;", "sip:a@b;=", "sip:a@b;x=[y]", "sip:a@b,sip:c@d", "sip:a\\b@c", "sip:a#b@c",
    "sip:a[b]@c", "sip:a@b/c", "sip:a@b%20", "sip:a{b}@c", "sip:a b@c",
)  # fmt: skip

_ADDRESSES = (
    '"n" <{u}>', "n <{u}>", "n m<{u}>", '"a\\"b<>" <{u}>', "<{u}> ", " <{u}>", "< {u} >", "<{u}>;tag=1", "{u};tag=1",
    "<{u}>; tag = 1", '<{u}>;tag="q"', '<{u}>;tag="a;b"', "<{u}>;tag=", "<{u}>;tag", "<{u}>;TAG=x",
    "<{u}>;x=1;tag=2;y", '<{u}>;x="tag=9;";tag=2', '<{u}>;x=";tag=9";tag=2', "<{u}>;xtag=3;tag=4",
    "<{u}>;tag=a;tag=b", "<{u}> ;tag=1 ", "<{u}>;tag=1,x", "<{u}>;tag=a b", '"n";x <{u}>', "n;x <{u}>", "<{u}>tag=1",
    "<{u}>;;tag=1", "<{u}>;tag=1;", "<<{u}>>", "<{u}", "{u}>", '"n <{u}>;tag=1', "'n' <{u}>;tag=1", "n, m <{u}>",
    "<{u}>, <sip:z@y>", "<{u}>;tag=ü", "<{u}>;tag=1?x", "<{u}>\r\n ;tag=1", '"n"\r\n <{u}>;tag=1',
    "<{u}>;tag=\r\n 1", '"a\r\n b" <{u}>', "{u} ;tag=1", "{u}; tag=1", "{u}?x=y;tag=1", "*", "", ";tag=1", "<>",
    "<>;tag=1", '"{u}"', '"<{u}>" <sip:in@out>;tag=5', "<{u}> (c) ;tag=1", "<{u}>;tag==1", '<{u}>;tag="";x',
    "<{u}>;tag=1:2@3", "<{u}>;a=<x>;tag=1",
)  # fmt: skip

_VIA_TAILS = (
    "", ";branch=x", ';branch="x"', ";branch=x;branch=y", ";BRANCH=x", ";branch = x", ";branch=\tx", " ; branch=x ; y",
    ";branch=x, SIP/2.0/TCP b;branch=y", ", SIP/2.0/TCP b;branch=y", ";branch=x,y", ";branch=x ", ";branch=x\r\n ;z",
    ";rport;branch=x", ";received=1.2.3.4;branch=x", " (comment);branch=x", ";branch=x (comment)",
    ";xbranch=q;branch=x", ';x=";branch=q";branch=x', ";branch=a@b", ";branch=ü", ";i=1;branch=x", ";alias;branch=x",
    ";ttl=1;maddr=b;branch=x", ':5060 ;x="a,b";branch=x', ";branch=x=y", ";branch=x;", ";;branch=x", ";branch;x",
    ';branch="x;y"', ';branch="x y"', ";branch=\r\n x", ";\r\n branch=x", ":65536;branch=x", ":x;branch=x",
)  # fmt: skip
_VIA_HEADS = (
    "SIP/2.0/UDP [::1]:5060", "SIP/2.0/TLS a", "SIP/2.0/SCTP a", "SIP/2.0/WS a", "SIP/2.0/FOO a", "sip/2.0/udp a",
    "SIP/2.0/UDP\r\n a", "SIP/2.0/UDP a b",
)  # fmt: skip

_CREDENTIALS = (
    'username="u"', 'username="u@r"', 'username="sip:u@r"', 'username="sip:u"', 'username="a:b:c@d"', "username=u",
    'username = "u"', 'realm="x",username="u"', 'realm="username=\\"z\\"",username="u"', 'username="u\\"v"',
    'username=""', "username", 'username="u', 'USERNAME="u"', 'xusername="z",username="u"', 'username="ü"',
    'username="a,b"', 'username="u" ,realm=x', 'username="u", , realm=x', "username='u'", 'username="u";realm="x"',
    'realm="x"', "", 'username="tel:+1@d"', 'username="@d"', 'username=":u"', 'username="u:"', 'username="a@b:c"',
    'username="u",nonce=', 'username=\r\n "u"', 'username="u", username="v"', 'username="a\r\n b"',
)  # fmt: skip
_SCHEMES = ("Digest ", "digest  ", "Digest\t", "Digest\r\n ", "Basic ", "")

_STARTS = (
    "INVITE sip:a@b SIP/2.0 ", "INVITE sip:a@b SIP/3.0", "INVITE sip:a@b SIP/2.0x", "INVITE sip:a@b HTTP/1.1",
    "INVITE sip:a@b sip/2.0", "INVITE sip:a@b", "INVITE  sip:a@b SIP/2.0", "INVITE\tsip:a@b SIP/2.0",
    "invite sip:a@b SIP/2.0", "I sip:a@b SIP/2.0", "FOO-BAR.x sip:a@b SIP/2.0", "F(O sip:a@b SIP/2.0",
    "FÜ sip:a@b SIP/2.0", '"INVITE" sip:a@b SIP/2.0', "INVITE: sip:a@b SIP/2.0", "INVITE <sip:a@b> SIP/2.0",
    "SIP/2.0 200 OK", "SIP/2.0 200  OK", "SIP/2.0 99 OK", "SIP/2.0 1000 OK", "SIP/2.0 700 OK", "SIP/2.0 2x0 OK",
    "sip/2.0 200 OK", "SIP/3.0 200 OK", "SIP/2.0  200 OK", "SIP/2.0 200\tOK", "SIP/2.0 200 ü", "SIP/2.0 200 \t",
    "HTTP/1.1 200 OK", "SIP/2.0 200 a\r\n b",
)  # fmt: skip

_NAMES = (
    "User-Agent", "Reason", "Diversion", "Content-Type", "X-CID", "X-RTP-Stat", "Mac", "IP", "Port", "Call-ID", "CSeq",
    "X-OIP", "Max-Forwards", "Content-Length", "Expires", "Route", "Record-Route",
)  # fmt: skip
_VALUES = (
    "", "x", " x ", "\tx\t", "x\r\n y", "\r\n x", "x\r\n ", ":x", '"', "é", "x\0y", "x\0", "x\r", "x\ry", "1", "-1",
    "99999999999", "1 INVITE", "application/sdp", "1.2.3.4", "1.2.3.4:5", "[::1]:5", "::1", "h:1:2",
    "<sip:r@s;lr>, <sip:t@u>",
)  # fmt: skip

_LINES = (
    "noline", "a b: c", ": x", 'X"y: z', "X@: y", "Ü: y", "X:y:z", "X\t:y", "\x01: y", "<x>: y", " cont", "X/: y",
    "\r: y",
)  # fmt: skip
_LEADS = ("\r\n", "\n", "\0\0", "\t", " ", "x", "\r", "\r\n \r\n")
_LINE_ENDS = {
    "CR line ends": (b"\r\n", b"\r"),
    "CR CR LF line ends": (b"\r\n", b"\r\r\n"),
    "blank in the empty line": (b"\r\n\r\n", b"\r\n \r\n"),
    "LF as the empty line": (b"\r\n\r\n", b"\r\n\n"),
}
_IDENTITIES = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")


def spellings() -> Iterator[tuple[str, bytes]]:
    """Yield a name and a message for every spelling."""
    for part in (_uris, _addresses, _vias, _credentials, _starts, _headers, _doubles):
        for name, message in part():
            yield name, message.encode()
    yield from _framings()


def _with(*lines: str) -> tuple[str, Message]:
    return " + ".join(lines), BASE.with_header(*lines)


def _uris() -> Iterator[tuple[str, Message]]:
    for uri in _URIS:
        yield f"ruri {uri}", BASE.request(uri)
        yield _with(f"From: <{uri}>;tag=1")
        yield _with(f"From: {uri};tag=1")
        yield _with(f"To: <{uri}>")
        yield _with(f"Contact: <{uri}>")
        yield _with(f"Contact: {uri}")
        yield _with(f"P-Asserted-Identity: <{uri}>")
        yield _with(f"Remote-Party-ID: {uri}")


def _addresses() -> Iterator[tuple[str, Message]]:
    for form in _ADDRESSES:
        value = form.replace("{u}", "sip:u@h")
        for name in ("From", "To", "Contact", *_IDENTITIES):
            yield _with(f"{name}: {value}")
        yield _with(f"P-Asserted-Identity: {value}", "P-Preferred-Identity: <sip:ppi@x>")


def _vias() -> Iterator[tuple[str, Message]]:
    for tail in _VIA_TAILS:
        yield _with(f"Via: SIP/2.0/UDP a{tail}")
    for head in _VIA_HEADS:
        yield _with(f"Via: {head};branch=x")


def _credentials() -> Iterator[tuple[str, Message]]:
    for credential in _CREDENTIALS:
        for scheme in _SCHEMES:
            yield _with(f"Authorization: {scheme}{credential}")
        yield _with('Authorization: Digest username="a1"', f"Proxy-Authorization: Digest {credential}")


def _starts() -> Iterator[tuple[str, Message]]:
    for start in _STARTS:
        yield f"start {start}", BASE.started(start)


def _headers() -> Iterator[tuple[str, Message]]:
    for name in _NAMES:
        rest = BASE.without(name)
        for value in _VALUES:
            yield f"{name}:{value}", rest.plus(f"{name}:{value}")
        spelt = (name.lower(), name.upper(), name[0].lower() + name[1:], f"{name} ", f" {name}", f"{name}x")
        for spelling in spelt:
            yield f"{spelling}: 1", rest.plus(f"{spelling}: 1")
    for line in _LINES:
        yield f"line {line}", BASE.plus(line, "Reason: after")
        yield f"first line {line}", replace(BASE, headers=(line, *BASE.headers))


def _doubles() -> Iterator[tuple[str, Message]]:
    for line in BASE.headers:
        name = line.partition(":")[0]
        yield f"{name} twice", BASE.plus(line)
        yield f"{name} missing", BASE.without(name)
        yield f"{name} empty", BASE.with_header(f"{name}:")
    for name in ("User-Agent", "Reason", "Diversion", "Content-Type", "X-CID", "X-RTP-Stat", "Mac", "X-OIP"):
        for first in ("", "x"):
            yield f"{name} {first} + second", BASE.plus(f"{name}: {first}", f"{name}: second")


def _framings() -> Iterator[tuple[str, bytes]]:
    base = BASE.encode()
    for lead in _LEADS:
        yield f"lead {lead}", lead.encode() + base
    yield "no header at all", b"INVITE sip:bob@biloxi.com SIP/2.0\r\n\r\n"
    yield "junk behind", base + b"\r\nfoo\0bar"
    yield "latin1 user agent", BASE.plus("User-Agent: {}").encode().replace(b"{}", b"Gr\xfc\xdfe \xff\xfe")
    yield "latin1 body", base + "Grüße".encode("latin-1")
    yield "long body", base + b"x" * 20_000
    # Behind the odd lines on purpose: what a reader learned from those must not carry over to these.
    like_headers = base + b"Contact: <sip:body@x>\r\nUser-Agent: body\r\n"
    yield "headers in the body", like_headers
    yield "headers in the body, LF", like_headers.replace(b"\r\n", b"\n")
    for name, (old, new) in _LINE_ENDS.items():
        yield name, base.replace(old, new)
