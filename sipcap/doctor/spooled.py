"""What waits in the spool, and what is there that should not be."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from sipcap.doctor.finding import Finding, fine, unknown, wrong
from sipcap.limits import DOCTOR_SPOOL_BYTES
from sipcap.service.plan import Plan
from sipcap.spool import BadSegment, Segment, place_key, segment_of
from sipcap.spool_files import files_in


def check_spool(plan: Plan, is_served: bool) -> Iterator[Finding]:
    """Look at the files of a spool.

    Args:
        plan: whose spool and capture modes.
        is_served: whether a service runs, which stores what waits.
    """
    folder = plan.spool_path()
    if folder is None:
        yield unknown("spool: there is none; while a database is away, records wait in memory only")
        return
    try:
        paths = files_in(folder)
    except OSError as error:
        yield wrong(f"spool {folder}: {error.strerror}")
        return
    known = {place_key(mode.name, plan.destination(mode)): mode.name for mode in plan.settings.modes.values()}
    waiting: dict[str, list[Segment]] = {}
    for path in paths:
        segment = segment_of(path)
        if segment is not None:
            waiting.setdefault(path.parent.name.partition(".")[0], []).append(segment)
        elif not (is_served and path.name.startswith(".")):  # one that a service is writing
            yield wrong(f"spool: {path} is no file of a spool", _put_aside(path))
    if not waiting:
        yield fine(f"spool {folder}: nothing waits")
    for key, segments in waiting.items():
        yield _about(known.get(key, ""), segments, is_served)
    yield from _damaged([segment for segments in waiting.values() for segment in segments])


def _about(mode: str, segments: list[Segment], is_served: bool) -> Finding:
    records = sum(segment.records for segment in segments)
    folder = segments[0].path.parent
    if mode and is_served:
        return fine(f"spool: {records} record(s) wait for capture mode {mode}; the running service stores them")
    if mode:
        return fine(f"spool: {records} record(s) wait for capture mode {mode}; the next start stores them")
    quoted = shlex.quote(str(folder))
    return wrong(
        f"spool: {records} record(s) in {folder} wait for a database or capture mode that the configuration lacks",
        f'sipcap store --db-url "$SIPCAP_DB_URL" {quoted}/*.ndjson && rm {quoted}/*.ndjson',
    )


def _damaged(segments: list[Segment]) -> Iterator[Finding]:
    """Read the oldest ones, up to a bound."""
    left = DOCTOR_SPOOL_BYTES
    for segment in segments:
        try:
            left -= segment.path.stat().st_size
            if left < 0:
                return
            segment.load()
        except FileNotFoundError:
            continue  # it was stored meanwhile
        except BadSegment as error:
            yield wrong(f"spool: {segment.path}: {error}", _put_aside(segment.path))
        except OSError as error:
            yield wrong(f"spool: {segment.path} cannot be read: {error.strerror}")


def _put_aside(path: Path) -> str:
    folder = path.parent.parent
    return f"mv {shlex.quote(str(path))} {shlex.quote(f'{folder}.{path.name.lstrip(chr(46))}')}"
