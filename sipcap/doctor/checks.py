"""Which checks a configuration needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from sipcap.config.settings import Settings
from sipcap.doctor.account import Account
from sipcap.doctor.databases import check_database, needs_of
from sipcap.doctor.drivers import check_compiled, check_module, check_program
from sipcap.doctor.finding import Check, Finding, fine, of_check, wrong
from sipcap.doctor.listening import check_listener, check_port
from sipcap.doctor.machine import check_clock
from sipcap.doctor.places import Need, check_file, check_folder, check_space
from sipcap.doctor.running import run_checks
from sipcap.doctor.service import Asked, ask, check_service, check_skew
from sipcap.doctor.spooled import check_spool
from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart
from sipcap.service.plan import SYSTEM_SPOOL, Plan

CONFIG, SERVICE, LISTENERS, DATABASES, DRIVERS, FOLDERS, DISK, SPOOL, CLOCK = NAMES = (
    "config", "service", "listeners", "databases", "drivers", "folders", "disk", "spool", "clock",
)  # fmt: skip
"""Groups of checks, in the order in which their findings are told."""

_CONTROL: Final = ("control_socket", "binrpc_socket", "rpc_fifo")


def examine(
    load: Callable[[], Plan], *, socket_path: str | None, tshark: bool, skipped: Iterable[str]
) -> Iterator[Finding]:
    """Run all checks that a configuration asks for.

    Args:
        load: reads the configuration; raises CannotStart.
        socket_path: where the running service is asked; None = where the configuration says.
        tshark: whether tshark is wanted.
        skipped: groups of checks that are left out.
    """
    left_out = frozenset(skipped)
    try:
        plan = load()
        plan.check()
    except CannotStart as error:
        yield of_check(CONFIG, wrong(str(error)))
        return
    settings = plan.settings
    if CONFIG not in left_out:
        yield of_check(CONFIG, fine(f"{settings.path or 'options and defaults'} can be used"))
    asked = ask(settings, socket_path)
    yield from run_checks([each for each in _checks(plan, asked, tshark=tshark) if each[0] not in left_out])


def _checks(plan: Plan, asked: Asked, *, tshark: bool) -> Iterator[tuple[str, Check]]:
    settings = plan.settings
    yield SERVICE, partial(check_service, asked)
    for listener in settings.listeners:
        yield LISTENERS, partial(check_listener, listener, asked.pid)
    if settings.metrics_listen is not None:
        yield LISTENERS, partial(_metrics, settings.metrics_listen, asked.pid)
    for mode in settings.modes.values():
        if not plan.is_idle(mode):
            yield DATABASES, partial(check_database, settings, mode, plan.source(mode), create=plan.create)
    yield DRIVERS, lambda: [check_compiled()]
    if tshark:
        yield DRIVERS, lambda: [check_program("tshark", "tshark")]
    if settings.metrics_listen is not None:
        yield DRIVERS, lambda: [check_module("prometheus_client", "prometheus-client")]
    yield FOLDERS, partial(_folders, plan)
    yield DISK, lambda: check_space(list(_needs(plan)))
    yield SPOOL, partial(check_spool, plan, asked)
    yield CLOCK, check_clock
    yield CLOCK, partial(check_skew, asked)


def _metrics(text: str, service_pid: int) -> Iterator[Finding]:
    try:
        yield check_port(parse_endpoint(f"tcp:{text}"), service_pid)
    except ValueError as error:
        yield wrong(f"metrics_listen: {error}")


def _folders(plan: Plan) -> Iterator[Finding]:
    """What is written beside the databases."""
    settings = plan.settings
    account = Account(settings.user)
    if (spool := plan.spool_path()) is not None:
        is_made_by_root = str(spool) == SYSTEM_SPOOL and os.geteuid() == 0 and not spool.exists()
        yield check_folder("spool", spool, Account() if is_made_by_root else account)
    if settings.dead_letter is not None:
        yield from check_file("dead letters", settings.dead_letter, account)
    for key in _CONTROL:
        path: Path | None = getattr(settings, key)
        if path is not None:  # made before the service becomes another user
            yield check_folder(f"{key}: its folder", path.absolute().parent, Account(), made=False)


def _needs(plan: Plan) -> Iterator[Need]:
    settings: Settings = plan.settings
    if (spool := plan.spool_path()) is not None:
        databases = len(plan.groups())  # each has its own bound
        yield Need("spool", spool, databases * settings.spool_max, "--spool-max", databases)
    if settings.dead_letter is not None:
        yield Need("dead letters", settings.dead_letter, settings.dead_letter_max)
    for mode in settings.modes.values():
        if not plan.is_idle(mode):
            with suppress(CannotStart):  # told by the check of the database
                yield from needs_of(mode)
