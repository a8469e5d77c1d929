"""Fixtures: the peers, skipped where they are missing, and each long comparison once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import corpus, kamailio, product, sipp, sngrep, tshark
from .cases import Case, all_cases
from .compare import Outcome, StartProduct, Verdict, ask_oracle, ask_product, outcomes

_STARTS: dict[str, StartProduct] = {"listen_store": product.piping, "run": product.serving}


def _missing(what: str) -> None:
    """Skip where a developer lacks a peer, but fail where the whole point is to have them."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="session")
def kamailio_here() -> None:
    """Kamailio of the release that the specification describes, with its modules."""
    if kamailio.executable() is None or kamailio.module_folder() is None:
        _missing(f"kamailio with {', '.join(kamailio.NEEDED_MODULES)}")
    if not kamailio.release().startswith(kamailio.NEEDED_RELEASE):
        _missing(f"kamailio {kamailio.NEEDED_RELEASE}x (found {kamailio.release()})")


@pytest.fixture(scope="session")
def sipp_here() -> None:
    """SIPp."""
    if sipp.executable() is None:
        _missing("sipp")


@pytest.fixture(scope="session")
def sngrep_here() -> None:
    """Program sngrep."""
    if sngrep.executable() is None:
        _missing("sngrep")


@pytest.fixture(scope="session")
def live_capture_here(sngrep_here: None) -> None:
    """The right to capture on loopback, which sngrep needs for live traffic."""
    if not sngrep.may_capture():
        _missing("the right to open a packet socket")


@pytest.fixture(scope="session")
def tshark_here() -> None:
    """Program tshark."""
    if tshark.executable() is None:
        _missing("tshark")


@pytest.fixture(scope="session")
def corpus_here() -> Path:
    """The folder of shared inputs, which is no part of the repository."""
    if not corpus.FOLDER.exists():
        pytest.skip("the shared corpus is not here")
    return corpus.FOLDER


@pytest.fixture(scope="session")
def cases() -> list[Case]:
    """Every input of the comparison."""
    return all_cases()


@pytest.fixture(scope="session")
def verdicts(kamailio_here: None, cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    """What Kamailio made of every case."""
    return ask_oracle(tmp_path_factory.mktemp("oracle"), cases)


@pytest.fixture(scope="session", params=sorted(_STARTS))
def compared(
    request: pytest.FixtureRequest,
    cases: list[Case],
    verdicts: list[Verdict],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Outcome]:
    """Both sides of every case, once for each way to run the product."""
    rows = ask_product(_STARTS[request.param], tmp_path_factory.mktemp(request.param), cases)
    return outcomes(cases, verdicts, rows)
