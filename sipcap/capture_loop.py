"""The way of messages through the capturing stage: from the source to the outlet, until something says stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sipcap.activity import Activity
from sipcap.counters import Counters
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.outlet import NO_LINES, Lines, Outlet
from sipcap.pipeline import Encode, ExtractOptions, Intake
from sipcap.sources.base import Source
from sipcap.watch import LossWatch


def capture(
    source: Source,
    options: ExtractOptions,
    outlet: Outlet,
    encode: Encode,
    *,
    stopping: Callable[[], bool],
    on_batch: Callable[[], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    switch: Callable[[], bool] | None = None,
    activity: Activity | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> None:
    """Run one capturing process: from the source to the outlet, until something says stop.

    Args:
        source: opened; its ``stats`` count everything up to the outlet.
        options: how records are made.
        outlet: started; takes the lines.
        encode: records to bytes, one line each.
        stopping: asked between batches; true makes the source give what it has and end.
        on_batch: called when messages have been received and counted, before anything is done with them.
        on_tick: called after each batch, and ten times a second while the outlet has no room or a hook takes its time:
            for publishing counters.
        switch: asked for each batch whether capture is on; what comes while it is off is ``filtered{capture_off}``,
            and no hook sees it. None = it is on.
        activity: counts what the records tell, for who wants to know.
        is_late: whether so little of the time to drain is left that no hook is asked any more: what comes to none is
            ``dropped{drain_timeout}``.

    Raises:
        HookStarved: the hook has used up all memory; what was captured until then is with the outlet.
    """
    counters = source.stats
    with Intake(options, counters, encode, activity=activity) as intake:
        ticks: list[Callable[[], None]] = [LossWatch(counters), intake.tick]
        if on_tick is not None:
            ticks.append(on_tick)
        for messages in source:
            if on_batch is not None:
                on_batch()
            is_on = switch is None or switch()
            if not is_on and messages:
                counters.filtered["capture_off"] += len(messages)
            lost = len(messages) if is_on and intake.has_hook and is_late() else 0
            for lines in intake.lines(messages) if is_on and not lost else (NO_LINES,):
                _hand_on(lines, outlet, stopping, ticks)
                if intake.left and (outlet.ended or is_late()):
                    lost, intake.left = intake.left, 0
                    break
            if lost:
                _give_up(lost, outlet, counters)
            intake.check()
            if outlet.ended:
                source.stop()
                return  # nobody takes what else the source has
            if stopping():
                source.stop()


def _hand_on(lines: Lines, outlet: Outlet, stopping: Callable[[], bool], ticks: Sequence[Callable[[], None]]) -> None:
    """Give lines to the outlet and, if there is no stop, wait until it has room for more."""
    if lines.data:
        outlet.put(lines)
        while not outlet.wait_for_space(FLUSH_INTERVAL_S) and not stopping():
            _call_all(ticks)
    else:
        outlet.probe()
    _call_all(ticks)


def _give_up(lost: int, outlet: Outlet, counters: Counters) -> None:
    """Count messages that no hook is asked about any more."""
    if outlet.ended:
        outlet.put(Lines(b"", lost, 0))  # they count as whatever is put there now
    else:
        counters.dropped["drain_timeout"] += lost


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()
