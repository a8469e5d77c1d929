"""What the README has to be pasted does what it says."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from tests.conftest import ROOT, SIPCAP, RunSipcap, environment

README = (ROOT / "README.md").read_text()
RECIPES = {
    task: command.strip("`").replace("\\|", "|")
    for task, command in re.findall(r"^\| ([^|]+) \| (`.+`) \|$", README, re.MULTILINE)
}


def paste(command: str, folder: Path) -> bytes:
    """Run a pipeline of the README, which reads the capture of the examples where it would listen."""
    program = " ".join(SIPCAP)
    line = command.replace("sipcap listen", f"sipcap replay {ROOT / 'examples' / 'call.pcap'}")
    done = subprocess.run(
        re.sub(r"\bsipcap (replay|store|tables)\b", rf"{program} \1", line), shell=True, cwd=folder, env=environment(),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_recipes_of_daily_tables_are_about_rtcp_too(tmp_path: Path) -> None:
    """All that is stored is in a table of its day, and goes when that day is over for long enough."""
    paste(RECIPES["one table a day, by the message's own time (UTC)"], tmp_path)
    with closing(sqlite3.connect(tmp_path / "sipcap.db")) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in found if "capture" in name} == {"sip_capture_20260101", "rtcp_capture_20260101"}
    said = paste(RECIPES["keep ten days, at most 20 GB"] + " --dry-run", tmp_path)
    assert b"rtcp_capture_20260101" in said
    assert b"sip_capture_20260101" in said


def test_cron_of_tables_is_about_rtcp_too(sipcap: RunSipcap) -> None:
    """Both lines of the help, as the recipes have it."""
    text = sipcap("tables", "--help").stdout.decode()
    jobs = re.findall(r"^ *\d+ \* \* \* \* sipcap .*$", text, re.MULTILINE)
    assert len(jobs) == 2
    assert all(r"'sip_capture_\%Y\%m\%d|rtcp_capture_\%Y\%m\%d'" in job for job in jobs), jobs


def test_session_waits_until_the_service_listens() -> None:
    """Pasted in one piece, nothing is sent to where nobody listens yet."""
    commands = [line[2:] for line in README.splitlines() if line.startswith("$ ")]
    assert commands[commands.index("sipcap run &") + 1].startswith("sleep 1")


def test_sum_of_the_counters_is_whole(sipcap: RunSipcap) -> None:
    """README and help of the service have every term (design 1.9)."""
    terms = "received + recovered = stored + reported + filtered + rejected + dead_letter + dropped + spooled + pending"
    assert terms in " ".join(README.split())
    assert terms in " ".join(sipcap("run", "--help").stdout.decode().split())
