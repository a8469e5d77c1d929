"""A whole configuration: every key, where its value comes from, and errors that say where and what."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.config.keys import COLUMN_KEYS, LISTEN_KEYS, MAIN_KEYS
from sipcap.config.reading import read_settings
from sipcap.config.settings import DEFAULT, Override, Settings
from sipcap.endpoint import Endpoint, parse_endpoint
from sipcap.errors import CannotStart
from sipcap.modes import CaptureMode
from sipcap.sources.addresses import parse_networks

WHOLE = """\
[sipcap]
capture_on = 1
capture_node = n1
db_url = mysql://u:geheim@h/db
insert_retries = 5
insert_retry_timeout = 10
callid_aleg_header = X-A; X-B;
spool = /var/spool/sipcap
auth_key = geheim
allow = 192.0.2.0/24
hook_timeout = 2
max_age = 1h
callid_column = cid
correlation_column = corr

[listen:hep]
listen = udp:0.0.0.0:9060, tcp:0.0.0.0:9060
children = 2

[listen:span]
mode = mirror
iface = eth1
promisc = 1
listen = *:5060-5090
bpf = auto

[listen:tunnels]
mode = ipip
listen = 192.0.2.1, [2001:db8::1]:5060

[capture_mode:mode1]
db_url = mysql://user:geheim@host/dbname1
table_name = a|b

[route:registrations]
methods = REGISTER
table = r_%Y
capture_mode = mode1

[route:rest]
table = c_%Y
"""


def read(tmp_path: Path, text: str, **overrides: object) -> Settings:
    """Read a file with this text."""
    path = tmp_path / "modes.ini"
    path.write_text(text)
    return read_settings(path, {key: Override(value, "--option") for key, value in overrides.items()})


def test_settings_of_a_whole_file_are_typed(tmp_path: Path) -> None:
    """Each value has its type, listeners take from [sipcap] what they do not say, routes keep their order."""
    found = read(tmp_path, WHOLE)
    assert (found.capture_on, found.capture_node, found.capture_bad_msgs) == (True, "n1", True)
    assert (found.insert_retries, found.insert_retry_timeout) == (5, 10)
    assert found.callid_aleg_header == ("X-A", "X-B")
    assert (found.spool, found.hook_timeout, found.max_age) == (Path("/var/spool/sipcap"), 2.0, 3_600.0)
    assert found.columns == {"callid": "cid", "correlation_id": "corr"}
    assert list(found.modes) == ["default", "mode1"]
    assert found.modes["mode1"] == CaptureMode("mode1", "mysql://user:geheim@host/dbname1", ("a", "b"))
    assert [route.name for route in found.routes] == ["registrations", "rest"]
    hep, span, tunnels = found.listeners
    assert hep.endpoints == (parse_endpoint("udp:0.0.0.0:9060"), parse_endpoint("tcp:0.0.0.0:9060"))
    assert (hep.children, hep.auth_key, hep.allow) == (2, "geheim", tuple(parse_networks(["192.0.2.0/24"])))
    assert (span.mode, span.iface, span.promisc, span.bpf) == ("mirror", "eth1", True, "auto")
    assert span.endpoints == (Endpoint("udp", "*", 5060, 5090),)
    assert tunnels.endpoints == (Endpoint("udp", "192.0.2.1", 0, 0), Endpoint("udp", "2001:db8::1", 5060, 5060))


def test_settings_of_an_empty_file_are_the_modules_defaults(tmp_path: Path) -> None:
    """Off, as the module; but broken messages are kept. This machine alone is heard."""
    found = read(tmp_path, "")
    assert (found.capture_on, found.capture_node, found.insert_retries, found.insert_retry_timeout) == (
        False, "homer01", 0, 60,
    )  # fmt: skip
    assert (found.callid_aleg_header, found.custom_field1_header, found.custom_field3_header) == (
        ("X-CID",),
        "Mac",
        "Port",
    )
    assert (found.capture_bad_msgs, found.nonsip_hook, found.topoh_unmask, found.db_insert_mode) == (
        True,
        False,
        False,
        0,
    )
    assert [str(endpoint) for endpoint in found.listeners[0].endpoints] == ["udp:127.0.0.1:9060", "tcp:127.0.0.1:9060"]
    assert found.columns == {}


def test_settings_without_a_file_are_on() -> None:
    """The simple case stays simple."""
    found = read_settings(None)
    assert found.capture_on
    assert found.modes == {"default": CaptureMode()}


def test_every_effective_value_has_its_origin(tmp_path: Path) -> None:
    """File and line, the option, or default; every key is listed, and no password."""
    found = read(tmp_path, WHOLE, capture_node="n2")
    entries = {(entry.section, entry.key): entry for entry in found.entries}
    assert entries["sipcap", "capture_node"][2:] == ("n2", "--option")
    assert entries["sipcap", "insert_retries"][2:] == ("5", f"{tmp_path}/modes.ini:5")
    assert entries["sipcap", "schema"][2:] == ("sipcapture", DEFAULT)
    assert entries["listen:hep", "allow"][2:] == ("192.0.2.0/24", f"{tmp_path}/modes.ini:10")
    assert entries["listen:hep", "children"][2:] == ("2", f"{tmp_path}/modes.ini:18")
    assert entries["capture_mode:mode1", "table_name"][2:] == ("a|b", f"{tmp_path}/modes.ini:33")
    assert entries["route:rest", "table"][2:] == ("c_%Y", f"{tmp_path}/modes.ini:41")
    assert {key for section, key in entries if section == "sipcap"} == set(MAIN_KEYS)
    assert {key for section, key in entries if section == "listen:hep"} == set(LISTEN_KEYS)
    assert "geheim" not in repr(found.entries)
    assert "geheim" not in repr(found)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[sipcap]\ninsert_retries = 501\n", ":2: [sipcap] insert_retries should be a value between 0 and 500"),
        ("[sipcap]\ninsert_retry_timeout = 301\n", ":2: [sipcap] insert_retry_timeout should be a value between 0 and"),
        ("[sipcap]\ncapture_on = maybe\n", ":2: [sipcap] capture_on must be 0 or 1"),
        ("[sipcap]\nschema = homer6\n", ":2: [sipcap] schema must be one of sipcapture, homer5, homer7; did you mean"),
        ("[sipcap]\nspool_max = much\n", ":2: [sipcap] spool_max 'much' is no size"),
        ("[sipcap]\nauth_key = @/nowhere\n", ":2: [sipcap] auth_key cannot be read from /nowhere"),
        ("[sipcap]\nallow = 300.1.1.1\n", ":2: [sipcap] allow has no network"),
        ("[listen:x]\nlisten = 9060\n", ":2: [listen:x] listen: '9060' is no endpoint"),
        ("[listen:x]\nlisten = udp:h:1\nchildren = 0\n", ":3: [listen:x] children should be a value between 1 and 64"),
        ("[listen:x]\nmode = hep\n", ":1: [listen:x] listen is missing"),
        ("[listen:x]\nlistne = udp:h:1\n", ":2: unknown key listne in [listen:x]; did you mean listen?"),
        ("[listen:x]\nlisten = udp:h:1\niface = e\n", ":3: [listen:x] iface has no meaning with mode = hep"),
        ("[listen:x]\nmode = mirror\nauth_key = k\n", ":3: [listen:x] auth_key has no meaning with mode = mirror"),
        ("[listen:x]\nmode = mirror\nlisten = tcp:h:1\n", ":3: [listen:x] listen: 'tcp:h:1': packets have no protocol"),
        ("[listen:x]\nmode = mirror\niface = e\nbpf = auto\n", "bpf = auto follows from the ports"),
        ("[listen:x]\nmode = mirror\npromisc = 1\n", "promisc needs iface"),
        ("[route:x]\ntable = t\ncapture_mode = m\n", ":3: [route:x] capture_mode: no capture mode has this name"),
        ("[route:x]\nhep_type = y\ntable = t\n", ":2: [route:x] hep_type"),
        ("[route:x]\nmethods = INVITE\n", ":1: [route:x] it leads nowhere"),
        ("[sipcap]\nraw_socket_listen = a.example:x\n", ":2: [sipcap] raw_socket_listen 'a.example:x' is no"),
        ("[sipcap]\nhep_capture_on = 1\n[listen:hep]\nlisten = udp:h:1\n", "a listener called hep is in"),
    ],
)  # fmt: skip
def test_settings_with_an_error_name_its_place(tmp_path: Path, text: str, error: str) -> None:
    """File, line, section and key, what is allowed, and the nearest valid name."""
    with pytest.raises(CannotStart) as raised:
        read(tmp_path, text)
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


def test_listeners_of_the_modules_parameters(tmp_path: Path) -> None:
    """Each ..._capture_on adds one beside those of [listen:*], made of the raw_... parameters."""
    found = read(
        tmp_path,
        "[sipcap]\nhep_capture_on = 1\nraw_ipip_capture_on = 1\nraw_moni_capture_on = 1\nraw_interface = eth1\n"
        "raw_socket_listen = 10.0.0.1:5060-5070\nraw_sock_children = 3\npromiscuous_on = 1\nraw_moni_bpf_on = 1\n"
        "[listen:own]\nlisten = udp:127.0.0.1:1\n",
    )
    own, hep, ipip, mirror = found.listeners
    assert [own.name, hep.name, ipip.name, mirror.name] == ["own", "hep", "raw_ipip", "raw_moni"]
    assert str(hep.endpoints[0]) == "udp:*:9060"
    where = (Endpoint("udp", "10.0.0.1", 5060, 5070),)
    assert (ipip.endpoints, ipip.iface, ipip.children, ipip.promisc, ipip.bpf) == (where, "eth1", 3, False, "")
    assert (mirror.endpoints, mirror.iface, mirror.children, mirror.promisc, mirror.bpf) == (
        where,
        "eth1",
        3,
        True,
        "auto",
    )


def test_options_win_over_the_file(tmp_path: Path) -> None:
    """Of [sipcap], of every listener, and a listener in the place of all."""
    path = tmp_path / "modes.ini"
    path.write_text(WHOLE)
    found = read_settings(
        path, {"db_url": Override("sqlite:///x.db", "--db-url")}, {"children": Override(4, "--children")}
    )
    assert found.modes["default"].db_url == "sqlite:///x.db"
    assert found.modes["mode1"].db_url == "mysql://user:geheim@host/dbname1"
    assert [listener.children for listener in found.listeners] == [4, 4, 4]
    only = (parse_endpoint("udp:127.0.0.1:1"),)
    found = read_settings(path, {}, {"listen": Override(only, "--listen")})
    assert [listener.endpoints for listener in found.listeners] == [only]
    assert found.listeners[0].auth_key == "geheim"


def test_secrets_of_a_file_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    """@FILE, as on the command line; the URL of a database too."""
    (tmp_path / "url").write_text("mysql://u:pw@h/d\n")
    (tmp_path / "key").write_text("k1\nrest")
    found = read(tmp_path, f"[sipcap]\ndb_url = @{tmp_path}/url\nauth_key = @{tmp_path}/key\n")
    assert found.modes["default"].db_url == "mysql://u:pw@h/d"
    assert found.listeners[0].auth_key == "k1"
    assert "pw" not in repr(found.entries)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:geheim@h/d", "mysql://u:ge:heim@h/d", "postgresql://h/d?user=u&password=geheim", "geheim",
        "mysql://:geheim@h/d", "unixodbc://u:geheim@localhost/DSN?PWD=geheim",
    ],
)  # fmt: skip
def test_password_is_never_shown(tmp_path: Path, url: str) -> None:
    """Wherever it stands, and even if it is all that stands there."""
    found = read(tmp_path, f"[sipcap]\ndb_url = {url}\ncapture_mode = m=>db_url={url};table_name=t\n")
    assert "heim" not in repr(found.entries)


@pytest.mark.parametrize("key", COLUMN_KEYS)
def test_every_column_can_have_another_name(tmp_path: Path, key: str) -> None:
    """All 44 parameters of the module."""
    assert read(tmp_path, f"[sipcap]\n{key} = other\n").columns == {COLUMN_KEYS[key]: "other"}
