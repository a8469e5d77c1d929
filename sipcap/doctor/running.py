"""Running checks: beside each other, each in bounded time, and none of them ends the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from sipcap.doctor.finding import Check, Finding, of_check, wrong
from sipcap.errors import SipcapError
from sipcap.limits import DOCTOR_CHECK_S


class _Job(threading.Thread):
    """One check; a daemon, because what it waits for may not be interruptible."""

    def __init__(self, name: str, check: Check) -> None:
        super().__init__(name=f"check {name}", daemon=True)
        self.check = name
        self._look = check
        self.found: list[Finding] = []

    def run(self) -> None:
        try:
            found = list(self._look())
        except SipcapError as error:
            found = [wrong(str(error))]
        except Exception as error:  # noqa: BLE001  # what one check stumbles over must not hide what others found
            found = [wrong(f"the check itself failed: {type(error).__name__}: {error}")]
        self.found = [of_check(self.check, each) for each in found]


def run_checks(checks: Sequence[tuple[str, Check]], timeout_s: float = DOCTOR_CHECK_S) -> Iterator[Finding]:
    """Run checks, all at once; what they found, in their order.

    Args:
        checks: each with the name of its group.
        timeout_s: what has no answer by then is said to have none.
    """
    jobs = [_Job(name, check) for name, check in checks]
    for job in jobs:
        job.start()
    until_s = time.monotonic() + timeout_s
    for job in jobs:
        job.join(max(until_s - time.monotonic(), 0.0))
        if job.is_alive():
            yield of_check(job.check, wrong(f"no answer within {timeout_s:g} s"))
        else:
            yield from job.found
