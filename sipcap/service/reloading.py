"""From one configuration to the next, in steps, between which the service goes on with everything else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sipcap.errors import CannotStart
from sipcap.service.crew import World
from sipcap.service.generation import Generation
from sipcap.service.generations import Generations
from sipcap.service.listening import Listening
from sipcap.service.plan import Plan
from sipcap.service.slot import Slot
from sipcap.sources.base import LiveSource

_LEAVING_S: Final = 2.0  # how long a reload waits for the former workers to see that they have been replaced
_ENDS: Final = "the service ends"
_STAYS: Final = "; the configuration before stays in force"
_AT_START: Final = ("control_socket", "control_group", "binrpc_socket", "rpc_fifo", "metrics_listen", "user")
"""Keys that a reload does not look at: what they name is made once, by root perhaps."""

_LOGGER = logging.getLogger("sipcap")


class Answer:
    """What became of a wish that another thread has fulfilled."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._is_awaited = True
        self._text = ""

    def give(self, text: str) -> bool:
        """Answer; false if nobody waits for it any more."""
        self._text = text
        self._given.set()
        return self._is_awaited

    def wait(self, timeout_s: float) -> str:
        """The answer; "" if there is none yet, and whoever gives it must make it known otherwise."""
        if not self._given.wait(timeout_s):
            self._is_awaited = False
        return self._text


class Scene(NamedTuple):
    """Where reloads take place.

    Args:
        generations: the processes.
        listening: what is open for them.
        world: what all generations share.
        stopping: whether the service ends: then nothing is waited for.
        begun: called when a reload begins.
        done: called when it has ended, well or not.
    """

    generations: Generations
    listening: Listening
    world: World
    stopping: Callable[[], bool]
    begun: Callable[[], None]
    done: Callable[[], None]


class Reloads:
    """Fulfils wishes for another configuration, one after the other; for the main thread but for ``ask``.

    Args:
        scene: where.
        plan: what the service has started with.
        sources: what its listeners capture from, by their names.
    """

    def __init__(self, scene: Scene, plan: Plan, sources: Mapping[str, LiveSource]) -> None:
        self._scene = scene
        self._started = plan.settings
        self._sources = sources
        self._asked: list[tuple[Plan, Answer]] = []
        self._asking = threading.Lock()  # guards both
        self._is_finished = False
        self._steps: Iterator[None] | None = None
        self.plan = plan
        """What is in force."""

    def ask(self, plan: Plan) -> Answer:
        """Want another configuration; whoever does not wait for the answer finds in the log what does not go."""
        answer = Answer()
        with self._asking:
            if self._is_finished:
                answer.give(_ENDS)
            else:
                self._asked.append((plan, answer))
        return answer

    @property
    def is_busy(self) -> bool:
        """Whether a reload is under way or wanted."""
        return self._steps is not None or bool(self._asked)

    def tend(self) -> None:
        """Bring the reload that is under way, or the next one, to where it has to wait."""
        if self._steps is None and self._asked:
            self._steps = self._fulfil(*self._asked.pop(0))
        if self._steps is not None and next(self._steps, self) is self:
            self._steps = None

    def finish(self) -> None:
        """Bring what is under way to its end, when the service is stopping; what has not begun does not take place."""
        with self._asking:
            self._is_finished = True
            for _, answer in self._asked:
                answer.give(_ENDS)
            self._asked.clear()
        for _ in self._steps or ():
            pass
        self._steps = None

    def _fulfil(self, plan: Plan, answer: Answer) -> Iterator[None]:
        failure = ""
        if plan == self.plan and not plan.has_files:
            _LOGGER.info("the configuration is as it was")
        else:
            try:
                failure = yield from self._try(plan)
            except Exception:  # a bug, which ends the service
                answer.give(_ENDS)
                raise
        if not answer.give(failure) and failure:
            refuse(failure)

    def _try(self, plan: Plan) -> Generator[None, None, str]:
        """Go on with another configuration; returns why that cannot be, "" if it can."""
        settings, started = plan.settings, self._started
        waiting = [key for key in _AT_START if getattr(settings, key) != getattr(started, key)]
        self._scene.begun()
        try:
            yield from self._apply(plan)
        except CannotStart as error:
            return str(error)
        except OSError as error:  # no descriptors, no memory
            return f"cannot make what the new configuration needs: {error.strerror}"
        finally:
            self._scene.done()
        _LOGGER.info("the new configuration is in force")
        if waiting:
            _LOGGER.warning("only the next start brings the new values of %s", ", ".join(waiting))
        return ""

    def _apply(self, plan: Plan) -> Iterator[None]:
        generations, listening = self._scene.generations, self._scene.listening
        before = {each.name: (each, self._sources[each.name]) for each in self.plan.settings.listeners}
        listening.pool.begin()
        sources: Mapping[str, LiveSource] = {}
        new: Generation | None = None
        try:
            sources = listening.open(plan, before)
            self._scene.world.switches.know(plan.settings.modes)
            new = Generation(plan, sources, self._scene.world, patient=True)
            generations.add(new)
            yield from new.starting(self._scene.stopping, self._held_by(generations.current, sources))
        except Exception:
            self._undo(new, sources)
            raise
        listening.pool.commit()
        yield from self._replace(plan, new, sources)

    def _undo(self, new: Generation | None, sources: Mapping[str, LiveSource]) -> None:
        """Give back all that was made for a configuration that is not used."""
        listening = self._scene.listening
        if new is not None:
            listening.note_kept(sources)
            self._scene.generations.retire(new, self._sources.values())
        listening.forget(sources, self._sources)
        listening.pool.roll_back()

    @staticmethod
    def _held_by(old: Generation, sources: Mapping[str, LiveSource]) -> dict[str, Sequence[Slot]]:
        """The processes that have to go before others begin with the same source, by the name of its listener."""
        return {group.listener.name: group.slots for group in old.groups if group.source in sources.values()}

    def _replace(self, plan: Plan, new: Generation, sources: Mapping[str, LiveSource]) -> Iterator[None]:
        """Put the new ones in force; yields while the old ones have not seen it: nothing is taken in as before then."""
        generations, listening = self._scene.generations, self._scene.listening
        old, old_sources = generations.current, self._sources
        listening.note_kept(old_sources)
        generations.put_in_force(new)
        self.plan, self._sources = plan, sources
        generations.retire(old, sources.values())
        listening.forget(old_sources, sources)
        until_s = time.monotonic() + _LEAVING_S
        while any(slot.pid for slot in old.workers) and time.monotonic() < until_s and not self._scene.stopping():
            yield


def refuse(*failures: str) -> None:
    """Say why a configuration is not used, one failure a line."""
    *lines, last = failures
    for line in lines:
        _LOGGER.error("%s", line)
    _LOGGER.error("%s%s", last, _STAYS)
