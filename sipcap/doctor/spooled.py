"""What waits in the spool, and what is there that should not be."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sipcap.doctor.finding import Finding, fine, unknown, wrong
from sipcap.doctor.service import Asked
from sipcap.limits import DOCTOR_SPOOL_BYTES
from sipcap.service.plan import Plan
from sipcap.spool import BadSegment, Segment, segment_of
from sipcap.spool_files import files_in, is_in_use


@dataclass(frozen=True)
class _Place:
    """A spool, and whose records wait in it.

    Args:
        path: its folder.
        served: the capture modes of the service that uses it, by the beginnings of its folders' names.
        planned: those of the configuration; what the service uses as well is the service's.
    """

    path: Path
    served: Mapping[str, str]
    planned: Mapping[str, str]


def check_spool(plan: Plan, asked: Asked) -> Iterator[Finding]:
    """Look at the files of a spool: that of the running service, and that of a configuration which has another.

    Args:
        plan: whose spool and capture modes.
        asked: what the running service said of itself; what it uses is its own, whatever the plan says.
    """
    found = list(_places(plan, asked.stats.get("spool")))
    if not found:
        yield unknown("spool: there is none; while a database is away, records wait in memory only")
    for place in found:
        yield from _examined(place)


def _places(plan: Plan, served: Mapping[str, Any] | None) -> Iterator[_Place]:
    planned = plan.spool_path()
    is_served = served is not None and planned is not None and _are_same(planned, Path(served["path"]))
    if served is not None:
        yield _Place(Path(served["path"]), served["keys"], plan.spool_keys() if is_served else {})
    if planned is not None and not is_served:
        yield _Place(planned, {}, plan.spool_keys())


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there, or not for us
        return one.absolute() == other.absolute()


def _examined(place: _Place) -> Iterator[Finding]:
    try:
        paths = files_in(place.path)
    except PermissionError as error:
        # Who may ask a service need not be allowed to see what it has captured.
        found = f"spool {place.path}: {error.strerror}"
        yield unknown(f"{found}; it is the running service's") if place.served else wrong(found)
        return
    except OSError as error:
        yield wrong(f"spool {place.path}: {error.strerror}")
        return
    waiting: dict[str, list[Segment]] = {}
    used = {folder: _is_used(folder, place) for folder in {path.parent for path in paths}}
    for path in paths:
        segment = segment_of(path)
        if segment is not None:
            waiting.setdefault(_key(path.parent), []).append(segment)
        elif not (used[path.parent] and path.name.startswith(".")):  # one that is being written
            yield wrong(f"spool: {path} is no file of a spool", _put_aside(path))
    if not waiting:
        yield fine(f"spool {place.path}: nothing waits")
    for key, segments in waiting.items():
        yield from _about(key, segments, place, used)
    yield from _damaged([segment for segments in waiting.values() for segment in segments], used)


def _key(folder: Path) -> str:
    return folder.name.partition(".")[0]


def _is_used(folder: Path, place: _Place) -> bool:
    """Whether a process stores what is in a folder, or will: one that it does not hold now, it takes over soon."""
    return _key(folder) in place.served or is_in_use(folder)


def _about(key: str, segments: Sequence[Segment], place: _Place, used: Mapping[Path, bool]) -> Iterator[Finding]:
    if key in place.served:
        yield fine(f"{_number(segments)} wait for capture mode {place.served[key]}; the running service stores them")
        return
    held = [segment for segment in segments if used[segment.path.parent]]
    if held:
        yield fine(f"{_number(held)} in {held[0].path.parent} are those of a process that runs")
    free = [segment for segment in segments if not used[segment.path.parent]]
    if free and key in place.planned:
        yield fine(f"{_number(free)} wait for capture mode {place.planned[key]}; the next start stores them")
    elif free:
        for folder in dict.fromkeys(segment.path.parent for segment in free):
            yield _foreign(folder, [segment for segment in free if segment.path.parent == folder])


def _number(segments: Sequence[Segment]) -> str:
    return f"spool: {sum(segment.records for segment in segments)} record(s)"


def _foreign(folder: Path, segments: Sequence[Segment]) -> Finding:
    """Records that nobody stores. The command holds their folder, so that no process takes them over meanwhile."""
    quoted = shlex.quote(str(folder))
    store = f'sipcap store --db-url "${{SIPCAP_DB_URL:?}}" {quoted}/*.ndjson && rm {quoted}/*.ndjson'
    return wrong(
        f"{_number(segments)} in {folder} wait for a database or capture mode that the configuration lacks; with the"
        " URL of that database in SIPCAP_DB_URL, exported:",
        f"flock -n {quoted} sh -c {shlex.quote(store)}",
    )


def _damaged(segments: Sequence[Segment], used: Mapping[Path, bool]) -> Iterator[Finding]:
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
            if used[segment.path.parent]:  # whoever has it counts on its files
                yield wrong(f"spool: {segment.path}: {error}; it can be put aside when the service has stopped")
            else:
                yield wrong(f"spool: {segment.path}: {error}", _put_aside(segment.path))
        except OSError as error:
            yield wrong(f"spool: {segment.path} cannot be read: {error.strerror}")


def _put_aside(path: Path) -> str:
    folder = path.parent.parent
    return f"mv {shlex.quote(str(path))} {shlex.quote(f'{folder}.{path.name.lstrip(chr(46))}')}"
