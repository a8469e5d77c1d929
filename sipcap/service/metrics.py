"""The state of a service as metrics of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sipcap.service.controller import Controller

_COUNTERS: Final = {
    "received": "Messages taken in.",
    "recovered": "Messages taken from the spool of an earlier process.",
    "stored": "SIP messages stored in the database.",
    "reported": "Report messages stored in the database.",
    "dead_letter": "Messages in the dead-letter file: the database refuses them for themselves.",
    "kernel_dropped": "Datagrams or packets that the kernel dropped before they were received.",
    "datagrams": "Datagrams received.",
    "packets": "Packets captured.",
    "truncated": "Messages stored with a text cut to the width of its column.",
    "sanitised": "Messages stored with characters replaced that the table cannot hold.",
    "clock_skew": "Messages whose time was replaced by their arrival.",
    "retries": "Batches tried again.",
    "bytes": "Bytes taken in.",
    "hook_calls": "Messages given to the hook.",
    "hook_us": "Microseconds that the hook took.",
    "forwarded": "Messages sent on to other collectors.",
    "forward_dropped": "Messages that other collectors did not take in time.",
}
"""The counters of design 1.9 that only grow, with their help."""

_GAUGES: Final = {
    "spooled": "Messages that wait in the spool.",
    "pending": "Messages that are on their way.",
}
_REASONS: Final = {
    "filtered": "Messages let pass on purpose.",
    "rejected": "Messages that could not be read.",
    "dropped": "Messages lost.",
}
_WELL_KNOWN: Final = {
    "filtered": ("capture_off", "hook"),
    "rejected": (
        "auth_key", "chunk_length", "gap", "hook_error", "hook_timeout", "incomplete", "length", "magic",
        "missing_header", "no_payload", "not_allowed", "not_sip", "short", "stream_cut", "version",
    ),
    "dropped": (
        "database", "dead_letter", "drain_timeout", "output", "spool_full", "spool_lost", "worker_killed",
    ),
}  # fmt: skip
"""Reasons that are there with 0 from the start: of a sample that appears with its first loss, rate() sees no rise."""

_HISTOGRAMS: Final = {
    "batch": "From the first record of a batch to its commit.",
    "database": "The transaction of a batch.",
}


class ServiceCollector(Collector):
    """Makes metrics of what the service says when it is asked.

    Args:
        controller: the service.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Iterator[Metric]:
        """All metrics, of one moment."""
        stats = self._controller.stats()
        yield GaugeMetricFamily("sipcap_up", "1 while the service runs.", 1)
        yield _info(stats)
        yield GaugeMetricFamily(
            "sipcap_start_time_seconds", "When the service was started.", stats["started_us"] / 1_000_000
        )
        yield GaugeMetricFamily("sipcap_capture_enabled", "Whether capture is switched on.", int(stats["enabled"]))
        modes = {name: int(on) for name, on in stats["modes"].items()}
        yield _gauge("mode_enabled", "Whether capture of a mode is switched on.", "mode", modes)
        yield from _of_counters(stats["counters"])
        yield from _of_activity(stats["activity"])
        yield from _of_listeners(stats["listeners"])
        yield from _of_stores(stats["stores"])
        for name, text in _HISTOGRAMS.items():
            yield _histogram(name, text, stats["latency"][f"{name}_s"])


def _info(stats: Mapping[str, Any]) -> Metric:
    return _gauge("build_info", "1, with the version.", "version", {stats["version"]: 1})


def _of_counters(counters: Mapping[str, Any]) -> Iterator[Metric]:
    for name, text in _COUNTERS.items():
        yield CounterMetricFamily(f"sipcap_{name}", text, counters[name])
    for name, text in _GAUGES.items():
        yield GaugeMetricFamily(f"sipcap_{name}", text, counters[name])
    for name, text in _REASONS.items():
        yield _counter(name, text, "reason", dict.fromkeys(_WELL_KNOWN[name], 0) | counters[name])


def _of_activity(activity: Mapping[str, Any]) -> Iterator[Metric]:
    yield _counter("requests", "SIP requests by method.", "method", activity["methods"])
    yield _counter("responses", "SIP replies by class of status.", "class", activity["statuses"])
    yield CounterMetricFamily("sipcap_reports", "Messages that are no SIP.", activity["reports"])


def _of_listeners(listeners: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    running, restarts, received, kernel = {}, {}, {}, {}
    for listener in listeners:
        key, workers = listener["name"], listener["workers"]
        running[key] = sum(bool(worker["pid"]) for worker in workers)
        restarts[key] = sum(worker["restarts"] for worker in workers)
        received[key] = sum(worker["counters"]["received"] for worker in workers)
        kernel[key] = sum(worker["counters"]["kernel_dropped"] for worker in workers)
    label = "listener"
    yield _gauge("workers_running", "Workers of a listener that run.", label, running)
    yield _counter("worker_restarts", "Workers started again after a crash.", label, restarts)
    yield _counter("listener_received", "Messages taken in by a listener.", label, received)
    yield _counter("listener_kernel_dropped", "What the kernel dropped at a listener.", label, kernel)


def _of_stores(stores: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    by_mode = {store["mode"]: store for store in stores}
    label = "mode"

    def values(key: str) -> dict[str, float]:
        return {mode: float(store[key]) for mode, store in by_mode.items() if store[key] is not None}

    yield _gauge("queue_records", "Records that wait for the database.", label, values("queue"))
    yield _gauge("spool_bytes", "Size of the spool.", label, values("spool_bytes"))
    yield _gauge("spool_records", "Records in the spool.", label, values("spool_records"))
    yield _gauge(
        "database_up", "1 if the database takes records; 0 also before the first success.", label, values("database_up")
    )
    stored = {mode: store["counters"]["stored"] for mode, store in by_mode.items()}
    yield _counter("mode_stored", "SIP messages stored by a capture mode.", label, stored)
    yield _counter("captured_requests", "SIP requests stored by a capture mode.", label, values("requests"))
    yield _counter("captured_replies", "SIP replies stored by a capture mode.", label, values("replies"))


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"sipcap_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"sipcap_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, measured: Mapping[str, Any]) -> Metric:
    """A histogram; its buckets are added up, as Prometheus wants them."""
    bounds = [*(str(float(bound)) for bound in measured["bounds_s"]), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, measured["counts"], strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(f"sipcap_{name}_seconds", text, buckets=buckets, sum_value=measured["sum_s"])
