"""``sipcap run`` as root, with and without ``--user``: where it keeps its spool, and what it leaves behind in /run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, environment
from tests.support.programs import need

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

PROGRAM = shlex.join(SIPCAP)
SCRIPT = """
mount -t tmpfs none /run && mount -t tmpfs none /var/lib || exit 99
rm -rf /run/mount  # the table of mount itself
umask 022
{before}
{program} run --listen udp:127.0.0.1:0 --db-url sqlite:///{folder}/db/x.db {args} 2>said &
pid=$!
for attempt in $(seq 100); do
    {program} status --socket /run/sipcap/sipcap.sock >/dev/null 2>&1 && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
stat -c '%n %U' /run/sipcap /run/sipcap/sipcap.sock /var/lib/sipcap 2>&1
kill -{signal} $pid
wait $pid
echo "ended with $?"
for attempt in $(seq 100); do [ -e /run/sipcap/sipcap.sock ] || break; sleep 0.1; done
sleep 0.1
find /run -printf '%p %u\\n'
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach, with one for a database that is nobody's."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "db").mkdir()
    shutil.chown(folder / "db", "nobody")
    yield folder
    shutil.rmtree(folder)


def run(folder: Path, *args: str, before: str = ":", signal: str = "TERM", **variables: str) -> list[str]:
    """What is told of /run and /var/lib, which are empty at the beginning, and seen by this service only."""
    kept = environment({"HOME": "/root", **variables})
    for name in ("SIPCAP_STATUS_SOCKET", "XDG_STATE_HOME"):
        if name not in variables:
            kept.pop(name, None)
    script = SCRIPT.format(program=PROGRAM, folder=folder, args=shlex.join(args), before=before, signal=signal)
    done = subprocess.run(
        [need("unshare"), "--mount", "sh", "-c", script], cwd=folder, env=kept, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip("nothing can be mounted here")
    return done.stdout.splitlines()


def test_run_as_another_user_needs_no_words_about_folders(open_folder: Path) -> None:
    """The spool is made for the user, outside of root's home; what was made in /run is gone at the end."""
    assert run(open_folder, "--user", "nobody") == [
        "/run/sipcap root",
        "/run/sipcap/sipcap.sock nobody",
        "/var/lib/sipcap nobody",
        "ended with 0",
        "/run root",
    ], (open_folder / "said").read_text()


def test_run_as_another_user_leaves_a_folder_that_was_there_as_it_was(open_folder: Path) -> None:
    """Only its socket goes."""
    before = "mkdir /run/sipcap; chown daemon /run/sipcap; mkdir /var/lib/sipcap; chown nobody /var/lib/sipcap"
    assert run(open_folder, "--user", "nobody", before=before) == [
        "/run/sipcap daemon",
        "/run/sipcap/sipcap.sock nobody",
        "/var/lib/sipcap nobody",
        "ended with 0",
        "/run root",
        "/run/sipcap daemon",
    ]


def test_run_as_another_user_that_is_killed_leaves_nothing_in_run(open_folder: Path) -> None:
    """What root made is taken away by root, however the service ends."""
    assert run(open_folder, "--user", "nobody", signal="KILL")[-2:] == ["ended with 137", "/run root"]


def test_run_as_root_takes_the_folder_that_it_made_away(open_folder: Path) -> None:
    """And no folder in which something else is; the spool is where it was."""
    assert run(open_folder, XDG_STATE_HOME=str(open_folder))[-2:] == ["ended with 0", "/run root"]
    assert (open_folder / "sipcap").is_dir()
    found = run(open_folder, before="mkdir /run/sipcap", XDG_STATE_HOME=str(open_folder))
    assert found[-2:] == ["/run root", "/run/sipcap root"]


def test_run_as_another_user_names_what_says_where_the_spool_is(open_folder: Path) -> None:
    """A folder that the user cannot reach is no place for it."""
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    assert "ended with 3" in run(open_folder, "--user", "nobody", XDG_STATE_HOME=str(closed))
    assert (open_folder / "said").read_text().splitlines()[-1] == (
        f"sipcap: error: user nobody cannot write the spool {closed}/sipcap; --spool (in a file: spool) or the variable"
        " STATE_DIRECTORY names another folder"
    )
