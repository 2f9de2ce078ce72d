"""What a run does and says when all goes well, on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from load_servers import by_count

from serving_ctl.load.answer import HeadMemory
from serving_ctl.load.client import Client, Core, Destination
from serving_ctl.load.schedule import ClosedLoop
from serving_ctl.load.wire import parse_url
from serving_ctl.load.work import LoadResult, Stage, StopRule, Tick, Warmup

Load = Callable[..., LoadResult]
Serve = Callable[..., object]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer-Timing: infer;dur=2.5, worker;desc=%s\r\n\r\n{}"


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\r\n{"a": 3}\n')
    return path


def by_time(seconds: float) -> StopRule:
    return StopRule(requests=0, seconds=seconds, max_seconds=seconds, floor_requests=0)


@pytest.mark.parametrize(("clients", "processes"), [(1, 1), (7, 1), (7, 3)])
def test_a_count_is_exact(serve: Serve, load: Load, clients: int, processes: int) -> None:
    server = serve()
    result = load(server.url, requests=100, clients=clients, processes=processes)
    assert (result.requests, result.request.n, result.service.n, result.client.sent) == (100, 100, 100, 100)
    assert len(server.bodies) == 100
    assert server.connections == result.connect.n == result.client.connects == clients
    assert sum(window.requests for window in result.windows) in (0, 100)
    assert result.throughput_rps == pytest.approx(100 / result.duration_s)


def test_bodies_are_sent_in_turn_and_by_processes_apart(serve: Serve, load: Load, bodies: Path) -> None:
    server = serve()
    load(server.url, requests=7, bodies_file=str(bodies))
    assert server.bodies == [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}'] * 2 + [b'{"a": 1}']
    server.bodies.clear()
    load(server.url, requests=2, bodies_file=str(bodies), clients=2, processes=2)
    assert sorted(server.bodies) == [b'{"a": 1}', b'{"a": 2}']


def test_one_document_over_several_lines_is_one_body(serve: Serve, load: Load, tmp_path: Path) -> None:
    document = json.dumps({"instances": [[1, 2], [3, 4]]}, indent=2)
    (tmp_path / "body.json").write_text(document)
    server = serve()
    load(server.url, requests=2, bodies_file=str(tmp_path / "body.json"))
    assert server.bodies == [document.encode()] * 2


def test_gzip_bodies_say_so(serve: Serve, load: Load, bodies: Path) -> None:
    heads: list[bytes] = []

    async def look(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        length = int(heads[-1].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        server.bodies.append(await reader.readexactly(length))
        writer.write(OK)

    server = serve(look)
    assert load(server.url, requests=1, bodies_file=str(bodies), gzip=True).requests == 1
    assert b"\r\nContent-Encoding: gzip\r\n" in heads[0]
    assert gzip.decompress(server.bodies[0]) == b'{"a": 1}'


def test_request_time_is_connect_and_service(serve: Serve, load: Load) -> None:
    server = serve(answers=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", close=True)
    result = load(server.url, requests=20, clients=2)
    assert (result.requests, result.connect.n, server.connections) == (20, 20, 20)
    assert result.request.sum_us == pytest.approx(result.connect.sum_us + result.service.sum_us)
    assert result.request.min_us > result.service.min_us


def test_a_server_that_serves_one_connection_at_a_time_is_never_blocked(serve: Serve, load: Load) -> None:
    turn = asyncio.Lock()

    async def sync_worker(reader, writer):
        async with turn:
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            # Like gunicorn's sync worker: the next connection waits until this client has closed.
            await reader.read()

    server = serve(sync_worker)
    result = load(server.url, clients=20, burst=True, requests=40, timeout_s=5)
    assert (result.requests, result.errors, result.burst_errors) == (40, {}, 0)
    assert len(server.bodies) == 60


def test_a_burst_is_one_request_of_each_client_then_the_window(serve: Serve, load: Load) -> None:
    server = serve()
    result = load(server.url, clients=300, burst=True, requests=600)
    assert len(server.bodies) == 900
    assert server.connections == 300
    assert (result.requests, result.connect.n) == (600, 0), "connections of the burst are kept"
    assert result.makespan_s is not None
    assert 0 < result.makespan_s < 60


def test_at_most_a_hundred_connects_are_pending(serve: Serve) -> None:
    async def scenario() -> tuple[int, int]:
        core, to = Core(), Destination(parse_url(serve().url), "127.0.0.1", HeadMemory("GET"))
        core.rule = ClosedLoop(by_count(250), lambda: b"GET / HTTP/1.1\r\n\r\n", 0)
        clients = [Client(core, to) for _ in range(250)]
        for client in clients:
            client.go()
        begun = core.pending_connects, len(core.waiting)
        for client in clients:
            client.halt()
        return begun

    assert asyncio.run(scenario()) == (100, 150)


def test_server_timing_is_summed_and_workers_counted(serve: Serve, load: Load) -> None:
    workers = iter(range(10**6))

    async def timed(reader, writer):
        worker = b"%d" % (next(workers) % 2)
        while True:
            await server.request(reader)
            writer.write(TIMED % worker)

    server = serve(timed)
    result = load(server.url, requests=10, clients=2)
    assert (result.server_timing["infer"].sum_ms, result.server_timing["infer"].count) == (25.0, 10)
    assert set(result.workers) == {"0", "1"}
    assert sum(result.workers.values()) == 10


def test_warm_up_goes_on_until_every_worker_was_met_and_is_thrown_away(serve: Serve, load: Load) -> None:
    numbers = iter(range(10**6))

    async def timed(reader, writer):
        while True:
            await server.request(reader)
            writer.write(TIMED % (b"2" if next(numbers) >= 50 else b"1"))

    server = serve(timed)
    result = load(server.url, requests=5, warmup=Warmup(requests=10, seconds=0, max_seconds=30, workers=2))
    assert result.requests == 5
    assert result.workers == {"2": 5}
    assert len(server.bodies) >= 56
    assert result.first_ms is not None


def test_samples_are_the_first_bodies(serve: Serve, load: Load) -> None:
    numbers = iter(range(10**6))

    async def numbered(reader, writer):
        while True:
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % (next(numbers) % 10))

    result = load((server := serve(numbered)).url, requests=8, samples=3)
    assert result.samples == ("0", "1", "2")
    assert len(server.bodies) == 8


def test_by_time_it_sends_for_that_time(serve: Serve, load: Load) -> None:
    result = load(serve().url, clients=3, stop=by_time(1.5))
    assert result.duration_s >= 1.5
    assert result.requests > 3
    assert len(result.windows) == 5
    assert sum(window.requests for window in result.windows) == pytest.approx(result.throughput_rps * result.duration_s)
    assert result.client.concurrency is not None
    assert result.client.concurrency <= 3.01


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_an_open_loop_sends_its_schedule(serve: Serve, load: Load, arrivals: str) -> None:
    result = load(serve().url, clients=10, rate_rps=200.0, arrivals=arrivals, seed=3, stop=by_time(1.0))
    again = load(serve().url, clients=10, rate_rps=200.0, arrivals=arrivals, seed=3, stop=by_time(1.0))
    assert result.client.sent == again.client.sent
    assert result.response is not None
    assert result.response.n == result.requests == result.client.sent
    assert result.response.sum_us > result.service.sum_us
    if arrivals == "constant":
        assert result.client.sent == 200


def test_a_rate_that_cannot_be_held_is_said(serve: Serve, load: Load) -> None:
    async def slow(reader, writer):
        while True:
            await server.request(reader)
            await asyncio.sleep(0.05)
            writer.write(OK)

    server = serve(slow)
    result = load(server.url, clients=2, rate_rps=200.0, requests=60)
    assert result.requests == 60
    assert "CLIENT-LIMITED" in result.flags
    assert 40 < result.client.late_busy <= result.client.late
    assert result.latency.max_us > 10 * result.service.min_us, "waiting for a free client is part of the response time"


def test_ramps_of_rate_and_of_clients(serve: Serve, load: Load) -> None:
    stages = (Stage(seconds=0.5, target=100), Stage(seconds=0.5, target=0))
    assert load(serve().url, clients=10, rate_rps=0.0, stages=stages).client.sent in (50, 51)
    server = serve()
    load(server.url, clients=1, stages=(Stage(seconds=0.5, target=6), Stage(seconds=0.3, target=6)))
    assert server.connections == 6


def test_ten_thousand_files_are_allowed_first(serve: Serve, load: Load) -> None:
    server = serve()
    result = load(server.url, clients=1500, burst=True, requests=1500)
    assert (result.requests, result.errors, result.burst_errors) == (1500, {}, 0)


def test_ticks_tell_the_phases_in_order(serve: Serve) -> None:
    from serving_ctl.load.pool import run_load
    from serving_ctl.load.work import LoadSpec

    ticks: list[Tick] = []
    spec = LoadSpec(
        url=serve().url,
        clients=4,
        burst=True,
        warmup=Warmup(requests=20, seconds=0.1),
        stop=by_count(2000),
        tick_s=0.02,
    )
    result = asyncio.run(run_load(spec, processes=2, on_tick=ticks.append))
    phases = list(dict.fromkeys(tick.phase for tick in ticks if tick.phase != "drain"))
    assert phases == ["warmup", "burst", "window"]
    counted = [tick.requests for tick in ticks if tick.phase == "window"]
    assert counted == sorted(counted)
    assert counted[-1] <= result.requests == 2000


def test_tls_is_spoken_and_verified(serve: Serve, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = serve(tls=context)
    stranger = load(server.url, requests=2)
    assert (stranger.requests, stranger.errors["connect failed"].count) == (0, 2)
    assert "certificate verify failed" in stranger.errors["connect failed"].example
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    known = load(server.url, requests=20, clients=2)
    assert (known.requests, known.errors, known.connect.n) == (20, {}, 2)
