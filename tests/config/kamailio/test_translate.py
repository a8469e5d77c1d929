"""Kamailio's configuration in the form of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.config.ini import parse_ini
from sipcap.config.kamailio.translate import Translation, translate
from sipcap.errors import CannotStart

DEBIANS = Path("/usr/share/doc/kamailio/examples/pkg/sipcapture.cfg")
HEAD = 'modparam("sipcapture", "db_url", "mysql://u:p@h/db")\n'
CALL, REGISTRATION, REST = (f"sip_capture_{name}_%Y%m%d" for name in ("call", "registration", "rest"))


def read(folder: Path, text: str, **others: str) -> Translation:
    """Translate a configuration that may include others."""
    for name, other in others.items():
        (folder / f"{name}.cfg").write_text(other)
    path = folder / "kamailio.cfg"
    path.write_text(text)
    return translate(path)


def sections(result: Translation) -> dict[str, dict[str, str]]:
    """The sections of the result, as the service reads them."""
    ini = parse_ini(result.text.encode(), "modes.ini")
    return {each.name: {key: value.text for key, value in each.values.items()} for each in ini.sections}


def routes(result: Translation) -> list[dict[str, str]]:
    """The routes of the result."""
    return [values for name, values in sections(result).items() if name.startswith("route:")]


def test_parameters_keep_their_names_and_values(tmp_path: Path) -> None:
    """Those of the module, and those of topoh and the RPC modules that capturing uses."""
    result = read(
        tmp_path,
        HEAD
        + 'modparam("sipcapture", "capture_on", 1)\n'
        + 'modparam("sipcapture|other", "capture_node", "node1") # comment\n'
        + "/* modparam('sipcapture', 'insert_retries', 3) */\n"
        + 'modparam("sipcapture", "callid_column", "call_id")\n'
        + 'modparam("topoh", "mask_key", "secret")\nmodparam("topoh", "callid_prefix", "***")\n'
        + 'modparam("jsonrpcs", "fifo_name", "/run/k.fifo")\nmodparam("ctl", "binrpc", "unix:/run/k.sock")\n',
    )
    assert sections(result) == {
        "sipcap": {
            "db_url": "mysql://u:p@h/db", "capture_on": "1", "capture_node": "node1", "callid_column": "call_id",
            "topoh_key": "secret", "topoh_prefix": "***", "rpc_fifo": "/run/k.fifo", "binrpc_socket": "/run/k.sock",
        }
    }  # fmt: skip
    assert result.notes == []


def test_database_that_is_not_named_is_the_modules_own(tmp_path: Path) -> None:
    """Ours would be another one."""
    assert sections(read(tmp_path, "debug=1\n"))["sipcap"]["db_url"] == (
        "mysql://kamailio:kamailiorw@localhost/kamailio"
    )


def test_capture_modes_become_sections(tmp_path: Path) -> None:
    """In the documented notation, which Kamailio itself does not take; a bad one is told, without its password."""
    result = read(
        tmp_path,
        'modparam("sipcapture", "capture_mode", "m1=>db_url=mysql://u:p@h/a,b;table_name=x|y;mt_mode=hash;hash_source=to_user;")\n'
        'modparam("sipcapture", "capture_mode", "m2=>db_url=mysql://u:secret@h/a;mt_mode=odd")\n',
    )
    assert sections(result)["capture_mode:m1"] == {
        "db_url": "mysql://u:p@h/a,b", "table_name": "x|y", "mt_mode": "hash", "hash_source": "to_user",
    }  # fmt: skip
    (note,) = result.notes
    assert note.startswith(f"{tmp_path}/kamailio.cfg:2: capture_mode: mt_mode")
    assert "secret" not in note


def test_listeners_follow_definitions_and_substitutions(tmp_path: Path) -> None:
    """Addresses behind names; what is advertised is not listened to."""
    result = read(
        tmp_path,
        '#!substdef "!MY_IP!10.0.0.1!g"\n#!define PORT 9060\nport=5062\nlisten=udp:MY_IP:PORT advertise 1.2.3.4:5060\n'
        "listen=tcp:[::1]:9061\nlisten=10.0.0.2\nlisten=sctp:10.0.0.3:5060\nchildren=4\n"
        + HEAD
        + 'modparam("sipcapture", "hep_capture_on", 1)\n',
    )
    assert sections(result)["listen:hep"] == {
        "mode": "hep", "listen": "udp:10.0.0.1:9060, tcp:[::1]:9061, udp:10.0.0.2:5062", "children": "4",
    }  # fmt: skip
    assert result.notes == [f"{tmp_path}/kamailio.cfg:7: listen = sctp:10.0.0.3:5060: no udp, tcp or tls address"]


@pytest.mark.parametrize(("defined", "node"), [("", "without"), ("#!define WITH_X\n", "with")])
def test_conditions_of_the_preprocessor_are_followed(tmp_path: Path, defined: str, node: str) -> None:
    """One branch counts, also nested ones and in included files."""

    def node_is(name: str) -> str:
        return f'modparam("sipcapture","capture_node","{name}")\n'

    inner = "#!ifdef WITH_X\n" + node_is("no") + "#!endif\n"
    result = read(
        tmp_path,
        f'{defined}#!ifdef WITH_X\ninclude_file "one.cfg"\n#!else\n{inner}{node_is("without")}#!endif\n',
        one=f"#!ifndef WITH_X\n{node_is('no')}#!else\n{node_is('with')}#!endif\n",
    )
    assert sections(result)["sipcap"]["capture_node"] == node


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    """They are read a bounded number of times, and that is told."""
    result = read(tmp_path, HEAD + 'include_file "one.cfg"\n', one='include_file "one.cfg"\n')
    assert "too many files include each other" in result.notes[0]
    assert "no-such.cfg: cannot be read" in read(tmp_path, 'include_file "no-such.cfg"\n').notes[0]


USUAL = """
request_route { route(STORE); }
onreply_route { route(STORE); }
route[STORE] {
    if ($rm == "REGISTER") $var(table) = "sip_capture_registration";
    else if ($rm =~ "(INVITE|ACK|BYE)$") { $var(table) = "sip_capture_call"; }
    else if ($rm =~ "^NOTIFY$" && is_present_hf("Event") && $hdr(Event) =~ "refer;") {
        $var(table) = "sip_capture_call";
    }
    else { $var(table) = "sip_capture_rest"; }
    $var(a) = $var(table) + "_" + $utimef(%Y%m%d);
    sip_capture("$var(a)");
}
"""


def test_usual_script_becomes_its_routes(tmp_path: Path) -> None:
    """Tables by method and day, chosen with variables (spec 4.5)."""
    result = read(tmp_path, HEAD + USUAL)
    assert routes(result) == [
        {"methods": "REGISTER", "table": REGISTRATION},
        {"methods": "INVITE, ACK, BYE", "table": CALL},
        {"methods": "NOTIFY", "header": "Event: refer;", "table": CALL},
        {"table": REST},
    ]
    assert result.notes == []


def test_script_of_the_package_becomes_its_routes() -> None:
    """Debian's own example of a capture node, statistics and all."""
    if not DEBIANS.exists():
        pytest.skip("the package's example is not here")
    result = translate(DEBIANS)
    assert sections(result)["listen:hep"]["listen"] == "udp:0.0.0.0:9060, tcp:0.0.0.0:9061"
    assert [route["table"] for route in routes(result)] == [REGISTRATION, CALL, CALL, CALL, REST]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('if (is_method("INVITE|BYE")) { sip_capture("a"); exit; } sip_capture("b");',
         [{"methods": "INVITE, BYE", "table": "a"}, {"table": "b"}]),
        ('if (method == "INVITE" || $rm == "BYE") sip_capture("a", "m1");',
         [{"methods": "INVITE, BYE", "table": "a", "capture_mode": "m1"}]),
        ('if (src_ip == 10.0.0.0/8 and $hep(0x00c) == "2001") { sip_capture("a"); }',
         [{"source": "10.0.0.0/8", "capture_id": "2001", "table": "a"}]),
        ('if ($hep(00011) == "5") { sip_capture("a"); }', [{"hep_type": "5", "table": "a"}]),
        ('if (($ua =~ "^x")) { sip_capture("a"); }', [{"header": "User-Agent: ^x", "table": "a"}]),
        ('if ($hdr(X-Y) == "a.b") { sip_capture("a"); }', [{"header": "X-Y: ^a\\.b$", "table": "a"}]),
        ('if ($rm == "INVITE") { if ($rm == "BYE") { sip_capture("never"); } sip_capture("a"); }',
         [{"methods": "INVITE", "table": "a"}]),
        ('sip_capture(); sip_capture_forward("sip:10.9.9.9:9060;transport=tcp");', []),
        ('sip_capture_forward("sip:10.9.9.9"); sip_capture();', [{"forward": "udp:10.9.9.9:5060"}]),
        ('sip_capture_forward("sip:10.9.9.9"); sip_capture("a");', [{"forward": "udp:10.9.9.9:5060", "table": "a"}]),
        ('if ($rm == "BYE") { sip_capture_forward("sip:10.9.9.9"); } sip_capture("a", "m");',
         [{"methods": "BYE", "forward": "udp:10.9.9.9:5060", "table": "a", "capture_mode": "m"},
          {"table": "a", "capture_mode": "m"}]),
        ('if ($rm == "INVITE") { return; } sip_capture("a");', [{"table": "a"}]),
        ('while ($var(i) < 3) { sip_capture("a"); }', [{"table": "a"}]),
        ('route(R); sip_capture("b");', [{"methods": "INVITE", "table": "r"}, {"table": "b"}]),
    ],
)  # fmt: skip
def test_calls_become_routes_in_their_order(tmp_path: Path, script: str, expected: list[dict[str, str]]) -> None:
    """What a route can say is said, each condition by its key."""
    block = 'route[R] { if ($rm == "INVITE") { sip_capture("r"); exit; } route(R); return; sip_capture("never"); }'
    assert routes(read(tmp_path, f"{HEAD}request_route {{ {script} }}\n{block}\n")) == expected


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ('if ($tU == "x") sip_capture("a"); else sip_capture("b");', "no route can say the condition $tU == x"),
        ('if ($rm != "INVITE") sip_capture("a");', "no route can say the condition $rm != INVITE"),
        ('sip_capture("$avp(x)");', "what its table is, only the script can tell"),
        ('sip_capture("a"); sip_capture("b");', "stored there a second time"),
        ('if ($rm == "INVITE") { drop; } sip_capture("b");', "what meets this condition is not stored there"),
        ('if ($rm == "INVITE") sip_capture("a");', "what meets none of them was not stored there"),
        ('sip_capture_forward("sip:$si");', "no address of udp or tcp that is known beforehand"),
        (
            'sip_capture_forward("sip:10.9.9.9"); sip_capture_forward("sip:10.9.9.8"); sip_capture("a");',
            "left out: another route, of a call before this one, takes the same messages",
        ),
        ('report_capture("x", "y");', "report_capture: what is no SIP is stored by itself"),
    ],
)
def test_what_no_route_can_say_is_listed(tmp_path: Path, script: str, note: str) -> None:
    """With its place; nothing is left out in silence."""
    result = read(tmp_path, f"{HEAD}request_route {{\n{script} }}\n")
    assert any(note in each for each in result.notes), result.notes


def test_replies_that_go_elsewhere_are_told(tmp_path: Path) -> None:
    """A route sees a reply as its request."""
    result = read(tmp_path, HEAD + 'route { sip_capture("a"); }\nonreply_route { sip_capture("b"); }\n')
    assert "reply_route: replies go where requests of their CSeq's method go" in result.notes


def test_file_that_is_not_there_cannot_start(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(CannotStart, match="no-such"):
        translate(tmp_path / "no-such.cfg")


_PIECES = (
    "route", "[", "]", "{", "}", "if", "else", "(", ")", ";", '"', "sip_capture", "$rm", "==", '"INVITE"', "&&", "||",
    "$var(x)", "=", "+", "exit", "return", "#!ifdef", "#!endif", "modparam", ",", '"sipcapture"', "/*", "while", "\n",
)  # fmt: skip
WORDS = st.lists(st.sampled_from(_PIECES), max_size=60)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(WORDS)
def test_any_words_are_read_to_their_end(tmp_path: Path, words: list[str]) -> None:
    """Broken scripts neither hang nor crash, and what comes of them can be read."""
    sections(read(tmp_path, " ".join(words)))


def test_deep_nesting_is_bounded(tmp_path: Path) -> None:
    """Thousands of braces and brackets are no reason to crash."""
    for text in (
        "route " + "{ " * 5_000,
        "route { " + "if (a) " * 5_000,
        "route { if " + "(" * 5_000 + ")" * 5_000 + " exit; }",
        "route { if (" + '(method=="A" || ' * 1_000 + 'method=="B"' + ")" * 1_000 + ") exit; }",
    ):
        translate_text = read(tmp_path, text)
        assert translate_text.lines
