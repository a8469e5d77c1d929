"""The metrics page: what Prometheus reads, and who else may come."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import sipcap
from sipcap.errors import CannotStart
from sipcap.limits import CONTROL_CONNECTIONS
from sipcap.service.control import clients
from sipcap.service.metrics import _WELL_KNOWN
from sipcap.service.metrics_server import HttpSession, Pages
from tests.support.controlling import PATIENCE_S, SmallService, read_all, serving
from tests.support.counted import counted_reasons
from tests.support.records import sip_record

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def service() -> SmallService:
    """One that has done something."""
    service = SmallService()
    service.counters.received, service.counters.stored = 12, 10
    service.counters.filtered["capture_off"] = 2
    service.counters.rejected['a "b" \\ \n'] = 3
    service.counters.kernel_dropped = 7
    service.activity.count([sip_record(method="INVITE", type=1), sip_record(method="404", type=2)])
    for seconds in (0.001, 0.002, 2.0, 1000.0):
        service.batches.observe(seconds)
    return service


@pytest.fixture
def port(service: SmallService) -> Iterator[int]:
    """Of its metrics page."""
    with serving(service, metrics_listen="127.0.0.1:0") as server:
        assert server.metrics_address is not None
        yield int(server.metrics_address.rpartition(":")[2])


def get(port: int, path: str, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
    """Status, type and text of a page."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()


def samples_of(port: int) -> Samples:
    """All samples of the metrics page."""
    status, content_type, text = get(port, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation.endswith(".") for family in families)
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
    assert len(found) == len(samples)  # none twice
    return found


def test_metrics_have_the_counters_of_the_service(port: int, service: SmallService) -> None:
    """Each counter of design 1.9 with its value, those by reason with a label."""
    samples = samples_of(port)
    for name, value in service.counters.as_dict().items():
        if isinstance(value, dict):
            for reason, count in value.items():
                assert samples[f"sipcap_{name}_total", (("reason", reason),)] == count
        else:
            suffix = "" if name in {"spooled", "pending"} else "_total"
            assert samples[f"sipcap_{name}{suffix}", ()] == value


def test_metrics_that_are_there_from_the_start_are_such_as_come() -> None:
    """A reason that nobody counts by would stay 0, and hide that its name has changed."""
    for counter, reasons in _WELL_KNOWN.items():
        assert set(reasons) <= counted_reasons(counter), counter


def test_metrics_have_all_that_is_promised(port: int) -> None:
    """Methods, status classes, workers, queues, spool, databases, state."""
    samples = samples_of(port)
    assert samples["sipcap_up", ()] == 1
    assert samples["sipcap_build_info", (("version", sipcap.__version__),)] == 1
    assert samples["sipcap_capture_enabled", ()] == 1
    assert samples["sipcap_mode_enabled", (("mode", "mode1"),)] == 1
    assert samples["sipcap_requests_total", (("method", "INVITE"),)] == 1
    assert samples["sipcap_responses_total", (("class", "4xx"),)] == 1
    assert samples["sipcap_workers_running", (("listener", "hep"),)] == 1
    assert samples["sipcap_worker_restarts_total", (("listener", "hep"),)] == 2
    assert samples["sipcap_listener_kernel_dropped_total", (("listener", "hep"),)] == 7
    assert samples["sipcap_queue_records", (("mode", "default"),)] == 3
    assert samples["sipcap_spool_bytes", (("mode", "mode1"),)] == 0
    assert samples["sipcap_database_up", (("mode", "mode1"),)] == 1
    assert samples["sipcap_start_time_seconds", ()] == 1_700_000_000


def test_metrics_add_up_the_buckets_of_latencies(port: int) -> None:
    """Prometheus wants each bucket to hold those before it."""
    samples = samples_of(port)
    buckets = {
        labels[0][1]: value for (name, labels), value in samples.items() if name == "sipcap_batch_seconds_bucket"
    }
    assert (buckets["0.001"], buckets["0.0025"], buckets["2.5"], buckets["60.0"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert samples["sipcap_batch_seconds_count", ()] == 4
    assert samples["sipcap_batch_seconds_sum", ()] == pytest.approx(1002.003)


def test_metrics_without_a_spool_have_no_size_of_it(port: int, service: SmallService) -> None:
    """Rather than 0, which would mean an empty one."""
    service.spool_bytes = None
    assert not [name for name, _ in samples_of(port) if name.startswith("sipcap_spool_")]


def test_metrics_as_openmetrics_can_be_read(port: int) -> None:
    """The newer format, which Prometheus prefers."""
    accept = "application/openmetrics-text; version=1.0.0"
    status, content_type, text = get(port, "/metrics?x=1", accept=accept)
    assert (status, content_type.startswith("application/openmetrics-text")) == (200, True)
    assert "sipcap_received" in [family.name for family in parse_openmetrics(text)]  # type: ignore[no-untyped-call]


def test_metrics_follow_the_service(port: int, service: SmallService) -> None:
    """Nothing is kept from one look to the next."""
    assert samples_of(port)["sipcap_received_total", ()] == 12
    service.counters.received += 5
    service.set_capture(None, on=False)
    assert samples_of(port)["sipcap_received_total", ()] == 17
    assert samples_of(port)["sipcap_capture_enabled", ()] == 0


def test_healthz_says_whether_it_is_well(port: int, service: SmallService) -> None:
    """200, or 503 with the reasons."""
    assert get(port, "/healthz")[::2] == (200, "ok\n")
    service.worker_pids = [0]
    assert get(port, "/healthz")[::2] == (503, "listener hep: 1 of 1 workers not running\n")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405), ("GET", "/../etc/passwd", 404)]
)
def test_http_other_requests_are_refused(port: int, method: str, path: str, status: int) -> None:
    """There are two pages."""
    assert get(port, path, method)[0] == status


def test_http_head_has_no_content(port: int) -> None:
    """Load balancers look this way."""
    assert get(port, "/healthz", "HEAD")[::2] == (200, "")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400), (b"\r\n\r\n", 400), (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/2\n\n", 400), (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000, 431),
        (b"\xff\xfe\x00 / HTTP/1.1\n\n", 405),
        (b"GET /healthz HTTP/1.0\n\n", 200),
    ],
)  # fmt: skip
def test_http_any_bytes_get_an_answer(port: int, data: bytes, status: int) -> None:
    """And the connection ends."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        client.sendall(data)
        assert read_all(client).startswith(f"HTTP/1.1 {status} ".encode())


@given(st.binary(max_size=200), st.integers(1, 100))
def test_http_any_pieces_are_answered_or_waited_for(data: bytes, step: int) -> None:
    """No bytes raise anything; a session that is over has an answer."""
    session = HttpSession(Pages(CollectorRegistry(), SmallService()))
    answers: list[bytes | None] = []
    for at in range(0, len(data), step):
        if not session.is_over:
            answers += [job() for job in session.receive_data(data[at : at + step])]
    assert session.is_over is bool(answers)
    assert all(answer is not None and answer.startswith(b"HTTP/1.1 ") for answer in answers)


def test_http_half_a_request_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow client does not keep its place."""
    monkeypatch.setattr(clients, "CONTROL_STALLED_S", 0.2)
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        client.sendall(b"GET /metr")
        assert read_all(client).startswith(b"HTTP/1.1 408 ")


def test_http_slow_clients_keep_nobody_waiting(port: int) -> None:
    """As many as there are places, and each with half a request."""
    with ExitStack() as stack:
        for _ in range(CONTROL_CONNECTIONS + 3):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
        started_s = time.monotonic()
        assert get(port, "/healthz")[0] == 200
        assert time.monotonic() - started_s < PATIENCE_S / 2


@pytest.mark.parametrize("listen", ["nope", "127.0.0.1:99999", "no-such-host.invalid:1", "127.0.0.1"])
def test_listen_at_what_is_no_address_is_said(listen: str) -> None:
    """In one line that names it."""
    with pytest.raises(CannotStart, match="metrics on "), serving(SmallService(), metrics_listen=listen):
        pass


def test_listen_at_a_port_that_is_taken_is_said(port: int) -> None:
    """And the one that has it goes on."""
    listen = f"127.0.0.1:{port}"
    with pytest.raises(CannotStart, match="metrics on "), serving(SmallService(), metrics_listen=listen):
        pass
    assert get(port, "/healthz")[0] == 200


def test_listen_on_ipv6_works() -> None:
    """With brackets, as in any endpoint."""
    with serving(SmallService(), metrics_listen="[::1]:0") as server:
        assert server.metrics_address is not None
        host, _, port = server.metrics_address.rpartition(":")
        assert host == "[::1]"
        with socket.create_connection(("::1", int(port)), PATIENCE_S) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert read_all(client).endswith(b"ok\n")
