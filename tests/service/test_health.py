"""Whether a service is well."""

from __future__ import annotations

from sipcap.service.health import ailments
from tests.support.controlling import SmallService


def test_health_of_a_service_that_works_is_good() -> None:
    """Also while capture is switched off: that was wanted."""
    service = SmallService()
    service.set_capture(None, on=False)
    assert ailments(service.stats()) == []


def test_health_without_workers_is_bad() -> None:
    """A worker that waits to be started again hears nothing."""
    service = SmallService()
    service.worker_pids = [4242, 0]
    assert ailments(service.stats()) == ["listener hep: 1 of 2 workers not running"]


def test_health_without_a_database_is_good_while_the_spool_takes_records() -> None:
    """Nothing is lost."""
    service = SmallService()
    service.database_up = False
    assert ailments(service.stats()) == []


def test_health_without_database_and_spool_is_bad() -> None:
    """For each capture mode."""
    service = SmallService()
    service.database_up, service.spool_bytes = False, None
    assert ailments(service.stats()) == [
        f"capture mode {mode}: the database is away, and there is no spool" for mode in ("default", "mode1")
    ]


def test_health_with_a_full_spool_is_bad() -> None:
    """Records are being lost."""
    service = SmallService()
    service.database_up, service.spool_full = False, True
    assert len(ailments(service.stats())) == 2


def test_health_without_the_sorting_process_is_bad() -> None:
    """What is captured meanwhile waits, and then is refused."""
    service = SmallService()
    service.sorting_pid = 0
    assert ailments(service.stats()) == ["the sorting process is not running: nothing reaches a database"]


def test_health_without_a_storing_process_is_bad() -> None:
    """A process that is not there says nothing of its database."""
    service = SmallService()
    service.database_up, service.storing_pid = False, 0
    assert ailments(service.stats()) == [
        f"capture mode {mode}: its storing process is not running" for mode in ("default", "mode1")
    ]


def test_health_before_anything_is_known_of_a_database_is_good() -> None:
    """Nothing has been for it yet, and so it lacks nothing."""
    service = SmallService()
    service.database_up, service.database_tried, service.spool_bytes = False, False, None
    assert ailments(service.stats()) == []
