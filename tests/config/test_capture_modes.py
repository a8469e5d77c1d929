"""The capture modes of a configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.config.capture_modes import ModesFile, read_modes
from sipcap.config.keys import SECTIONS
from sipcap.errors import CannotStart
from sipcap.modes import CaptureMode
from sipcap.sinks.url import DEFAULT_URL

WHOLE = """\
[sipcap]
# the module's parameters, by their own names
capture_on = 1
capture_node = homer01
db_url = sqlite:////var/lib/x.db
table_name = sip_%Y|b
mt_mode = round_robin
hash_source = from_user
insert_retries = 5
schema = homer5
callid_column = cid
correlation_column = x
authorization_column = x
capture_mode = m2=>db_url=mysql://u:p,q@h/d; table_name=t2; mt_mode=hash; hash_source=to_user;

    m3=>db_url=sqlite:///3.db

[listen:hep]
mode = hep
listen = udp:0.0.0.0:9060, tcp:0.0.0.0:9060
children = 2

[capture_mode:mode1]
db_url = mysql://user:passwd@host/dbname1
table_name = homer_capture1|homer_capture2
mt_mode = hash
hash_source = call_id

[route:rest]
table = sip_capture_call_%Y%m%d
"""


def _read(tmp_path: Path, text: str) -> ModesFile:
    path = tmp_path / "modes.ini"
    path.write_text(text)
    return read_modes(path)


def test_modes_of_a_whole_file_are_read(tmp_path: Path) -> None:
    """Sections, lines in the module's notation and the default mode's own keys make modes."""
    found = _read(tmp_path, WHOLE.replace("\n\n    m3", "\n    m3"))
    assert found.schema == "homer5"
    assert found.modes == {
        "default": CaptureMode("default", "sqlite:////var/lib/x.db", ("sip_%Y", "b"), "round_robin", "from_user"),
        "m2": CaptureMode("m2", "mysql://u:p,q@h/d", ("t2",), "hash", "to_user"),
        "m3": CaptureMode("m3", "sqlite:///3.db"),
        "mode1": CaptureMode(
            "mode1", "mysql://user:passwd@host/dbname1", ("homer_capture1", "homer_capture2"), "hash", "call_id"
        ),
    }


def test_modes_of_an_empty_file_are_the_default_one(tmp_path: Path) -> None:
    """Nothing has to be set."""
    found = _read(tmp_path, "")
    assert (found.modes, found.schema) == ({"default": CaptureMode("default", DEFAULT_URL)}, None)


def test_mode_unknown_name_is_an_error_with_the_known_ones(tmp_path: Path) -> None:
    """Names have case, as in the module."""
    found = _read(tmp_path, "[capture_mode:mode1]\ndb_url = x\n")
    assert found.mode("mode1").name == "mode1"
    with pytest.raises(CannotStart, match=r"did you mean mode1\? \(known: default, mode1\)"):
        found.mode("Mode1")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[sipcap]\n\ndb_ulr = x\n", 3, "unknown key db_ulr in [sipcap]; did you mean db_url?"),
        (
            "[sipcap]\nmt_mode = hsah\n",
            2,
            "mt_mode is 'hsah', must be one of rand, round_robin, hash; did you mean hash?",
        ),
        ("[sipcap]\nmt_mode = hash ; why\n", 2, "mt_mode is 'hash ; why', must be one of"),
        ("[sipcap]\nhash_source =\n", 2, "hash_source is '', must be one of call_id, from_user, to_user"),
        ("[sipcap]\ntable_name =\n", 2, "table_name is empty"),
        ("[sipcap]\ndb_url = sqlite:///a\n   sqlite:///b\n", 2, "db_url has a blank"),
        ("[sipcap]\nschema = homer6\n", 2, "schema must be one of sipcapture, homer5, homer7; did you mean homer"),
        ("[sipcap]\ncapture_mode =\n  a=>db_url=x\n  b=>db=x\n", 4, "capture_mode: column 4: expected a key"),
        (
            "[sipcap]\ncapture_mode =\n  a=>db_url=x\n  a=>db_url=y\n",
            4,
            "a is here for the second time; first in line 3",
        ),
        ("[capture_mode:a]\n\ntable_name = t\n", 1, "[capture_mode:a] db_url is missing"),
        ("[capture_mode:a]\ndb_url = x\ncapture_on = 1\n", 3, "unknown key capture_on in [capture_mode:a]"),
        ("[capture_mode:a b]\ndb_url = x\n", 1, "the name of a capture mode"),
        ("[capture_mode]\ndb_url = x\n", 1, "[capture_mode] is written [capture_mode:NAME]"),
        ("[capture_mode:default]\ndb_url = x\n", 1, "made of the keys of [sipcap]"),
        ("[sipcap]\ncapture_mode = default=>db_url=x\n", 2, "made of the keys of [sipcap]"),
        ("[sipcap:x]\n", 1, "[sipcap:x] is written [sipcap]"),
        ("\n[capture_modes:a]\n", 2, "unknown section [capture_modes:a]; did you mean capture_mode?"),
        ("[]\n", 1, "unknown section [] (known: sipcap, capture_mode:NAME, listen:NAME, route:NAME)"),
    ],
)
def test_modes_wrong_file_names_line_key_and_what_is_allowed(tmp_path: Path, text: str, line: int, said: str) -> None:
    """An error says file, line, key and the allowed values or the nearest name."""
    with pytest.raises(CannotStart) as caught:
        _read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/modes.ini:{line}: ")
    assert said in str(caught.value)


def test_keys_of_the_main_section_are_the_modules_parameters() -> None:
    """All 44 columns can be named, two of them under the module's own word for them."""
    keys = SECTIONS["sipcap"]
    assert keys is not None
    assert len(keys) == len(set(keys))
    assert sum(key.endswith("_column") for key in keys) == 44
    assert {"authorization_column", "correlation_column", "raw_moni_bpf_on", "capture_mode"} <= set(keys)
    assert not {"auth_column", "correlation_id_column", "promiscious_on"} & set(keys)
