"""Workers on several hosts, which are network namespaces: cut off, slow, far away, and with clocks that are wrong."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask_places import Cluster, CountingServer
from free_ports import free_port
from hosts import Host, Relay, require_hosts
from test_cluster_load import on, soon

from serving_ctl.cluster.load import ClusterLoad
from serving_ctl.errors import ClusterError
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Tick

HOUR_MS = 3_600_000.0
COUNTED = StopRule(requests=400, max_seconds=None)


@pytest.fixture
def hosts() -> Iterator[Callable[[], Host]]:
    """Makes hosts, which end with the test."""
    require_hosts()
    made: list[Host] = []

    def make() -> Host:
        made.append(Host(len(made)))
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.fixture
def two_hosts(hosts: Callable[[], Host], tmp_path: Path) -> Iterator[tuple[Cluster, Host, Host, CountingServer]]:
    """A worker on each of two hosts, the clock of the second three hours ahead; scheduler and server are here."""
    first, second = hosts(), hosts()
    server = CountingServer("0.0.0.0")
    server.url = server.url.replace("0.0.0.0", first.outside)
    cluster = Cluster(tmp_path, first.outside)
    try:
        cluster.add(host=first.address, before=first.inside)
        cluster.add(host=second.address, before=(*second.inside, "faketime", "-f", "+3h"))
        yield cluster, first, second, server
    finally:
        cluster.close()
        server.close()


def test_hosts_with_other_clocks_slow_links_and_one_cut_off(
    two_hosts: tuple[Cluster, Host, Host, CountingServer],
) -> None:
    cluster, _, second, server = two_hosts
    body = cluster.folder / "body"
    body.write_bytes(b"[" + b"1," * 2000 + b"1]\n")
    bulky = LoadSpec(url=server.url, bodies_file=str(body), clients=2, stop=COUNTED)
    with pytest.raises(ClusterError, match=r"cannot reach http://127\.0\.0\.1:9/ "):
        on(cluster.address, lambda load: load.check(["http://127.0.0.1:9/"]))

    async def work(load: ClusterLoad) -> tuple[LoadResult, LoadResult, LoadResult, int]:
        await load.check([server.url])
        second.slow_down("4mbit")
        slow = await load.run(bulky)
        second.speed_up()
        ticks: list[Tick] = []
        steady = LoadSpec(url=server.url, clients=2, stop=StopRule(seconds=4.0, max_seconds=4.0), timeout_s=3.0)
        running = asyncio.create_task(load.run(steady, on_tick=ticks.append))
        await soon(lambda: len(ticks) > 4 and ticks[-1].requests, "a few ticks")
        before = server.peers[second.address]
        second.cut_off()
        cut = await running
        after = await load.run(LoadSpec(url=server.url, clients=2, stop=COUNTED))
        return slow, cut, after, before

    slow, cut, after, before = on(cluster.address, work)
    assert slow.requests == 400
    assert slow.origin is not None
    assert slow.origin.hosts == 2
    # A share of the two clients each, and so of the requests: the slow link makes its host slower, not its share less.
    assert server.peers[second.address] >= 200
    assert slow.origin.clock_offset_ms == pytest.approx(3 * HOUR_MS, abs=60_000)
    assert slow.origin.start_skew_ms is not None
    assert slow.origin.start_skew_ms < HOUR_MS / 60
    assert "WORKER-LOST" in cut.flags
    assert cut.origin is not None
    assert cut.origin.lost == 1
    assert second.address in cut.errors["worker lost"].example
    assert 0 < cut.errors["worker lost"].count <= server.peers[second.address] - 200 + 1
    assert before <= server.peers[second.address]
    assert cut.requests > 0
    assert after.requests == 400
    assert after.flags == ()


def test_a_worker_far_away_whose_wall_clock_is_moved_in_mid_run(own_dask: Cluster, server: CountingServer) -> None:
    require_hosts()
    relay = Relay(0.05)
    clock = own_dask.folder / "clock"
    clock.write_text("-2h\n")
    relay.to = free_port()
    library = faketime_library()
    environment = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    ways = f"tcp://127.0.0.1:{relay.port}", f"tcp://127.0.0.1:{relay.to}"
    own_dask.add("--contact-address", ways[0], "--listen-address", ways[1], environment=environment)
    own_dask.add()

    async def work(load: ClusterLoad) -> tuple[LoadResult, LoadResult]:
        ticks: list[Tick] = []
        spec = LoadSpec(url=server.url, clients=2, stop=StopRule(seconds=1.0, max_seconds=1.0))
        running = asyncio.create_task(load.run(spec, on_tick=ticks.append))
        await soon(lambda: ticks and ticks[-1].requests, "a tick")
        clock.write_text("+5h\n")
        moved = await running
        return moved, await load.run(LoadSpec(url=server.url, clients=2, stop=COUNTED))

    try:
        moved, after = on(own_dask.address, work)
    finally:
        relay.close()
    for result, hours in ((moved, -2), (after, 5)):
        assert result.flags in ((), ("CLIENT-LIMITED",))
        assert result.origin is not None
        assert result.origin.lost == 0
        assert result.origin.clock_offset_ms == pytest.approx(hours * HOUR_MS, abs=60_000)
        # A way of 50 ms there and back: no reading can be more exact than half of it, and each start is within it.
        assert result.origin.offset_error_ms >= 50.0
        assert result.origin.start_skew_ms is not None
        assert result.origin.start_skew_ms < HOUR_MS / 60
    assert moved.duration_s == pytest.approx(1.0, abs=0.5)
    assert after.requests == 400


def faketime_library() -> str:
    """Path of the library that the ``faketime`` command preloads."""
    done = subprocess.run(["faketime", "-f", "+0h", "env"], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("LD_PRELOAD="))
    return line.partition("=")[2]
