"""Load on a real scheduler and real workers: shared exactly, steered, cancelled, and what becomes of every loss."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
from bench.predicting import PredictingServer
from dask_places import Cluster, CountingServer, until

from serving_ctl.cluster import crew, link, open_cluster
from serving_ctl.cluster.load import ClusterLoad
from serving_ctl.errors import ClusterError, RunIncomplete
from serving_ctl.load.pool import Control
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Tick, Warmup

NAMES = ("tf-serving", "flask")
ENDLESS = StopRule(seconds=600.0, max_seconds=600.0)


def on(address: str, work: Callable[[ClusterLoad], Coroutine[Any, Any, Any]]) -> Any:
    """What ``work`` brings on the cluster at ``address``."""

    async def opened() -> Any:
        async with open_cluster(address) as load:
            return await work(load)

    return asyncio.run(opened())


def tfserve(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One command as a user gives it."""
    folders = {f"TFSERVE_{name}_DIR": str(folder / name) for name in ("STATE", "DATA", "CONFIG")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "tui", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **folders},
        cwd=folder,
    )


async def soon(fact: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(until, fact, what)


def test_a_load_is_shared_exactly_and_its_start_agreed(dask: Cluster, server: CountingServer, tmp_path: Path) -> None:
    bodies = [b'{"instances": [%d]}' % i for i in range(7)]
    (tmp_path / "bodies").write_bytes(b"\n".join(bodies))
    spec = LoadSpec(
        url=server.url,
        bodies_file=str(tmp_path / "bodies"),
        clients=5,
        stop=StopRule(requests=5003, seconds=0.0, max_seconds=None),
    )
    ticks: list[Tick] = []

    async def work(load: ClusterLoad) -> LoadResult:
        await load.check([server.url])
        return await load.run(spec, on_tick=ticks.append)

    result: LoadResult = on(dask.address, work)
    assert result.requests == server.count == result.request.n == 5003
    assert server.bodies == set(bodies)
    assert result.origin is not None
    assert (result.origin.workers, result.origin.hosts, result.origin.lost) == (2, 1, 0)
    assert result.origin.start_skew_ms is not None
    assert result.origin.offset_error_ms > 0
    counted = [tick.requests for tick in ticks]
    assert counted == sorted(counted)
    assert max(tick.in_flight for tick in ticks) <= 5
    assert not list(dask.folder.glob("space-*/**/tfserve-tui-*")), "request bodies were left on a worker"


def test_a_load_is_steered_and_cancelled_on_every_worker(dask: Cluster, server: CountingServer) -> None:
    spec = LoadSpec(url=server.url, movable=True, clients=4, stop=ENDLESS, warmup=Warmup(requests=1, seconds=0.0))
    moved = server.url.replace("predict", "moved")
    ticks: list[Tick] = []
    latest: Callable[[], Tick] = lambda: ticks[-1]  # noqa: E731
    looked: list[int] = []

    async def look() -> None:
        looked.append(server.count)

    async def work(load: ClusterLoad) -> LoadResult:
        control = Control()
        running = asyncio.create_task(load.run(spec, on_tick=ticks.append, on_warm=look, control=control))
        await soon(lambda: ticks and latest().phase == "window" and latest().requests, "the window")
        control.pause()
        await soon(lambda: latest().in_flight == 0, "a pause")
        control.resume()
        await soon(lambda: latest().in_flight == 4, "the end of the pause")
        control.change_clients(3)
        await soon(lambda: latest().in_flight == 7, "three more clients")
        control.redirect((moved, server.url))
        await soon(lambda: server.paths.keys() == {b"/v1/models/m:predict", b"/v1/models/m:moved"}, "both addresses")
        control.skip()
        skipped = await running
        again = asyncio.create_task(load.run(spec, on_tick=ticks.append))
        await soon(lambda: latest().phase == "window", "another window")
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again
        await soon(lambda: server.connections == 0, "that every worker has let go of the server")
        return skipped

    result: LoadResult = on(dask.address, work)
    assert "SKIPPED" in result.flags
    assert looked == [pytest.approx(looked[0])]
    workers = [psutil.Process(worker.process.pid) for worker in dask.workers]
    until(lambda: not [child for one in workers for child in one.children()], "that no load process is left")


def test_open_loops_keep_their_rate_and_an_echo_says_the_clients_floor(dask: Cluster, server: CountingServer) -> None:
    spec = LoadSpec(url=server.url, clients=8, rate_rps=200.0, stop=StopRule(seconds=1.0, max_seconds=1.0))

    async def work(load: ClusterLoad) -> tuple[LoadResult, float]:
        return await load.run(spec), (await load.calibrate(spec)).floor_ms

    result, floor_ms = on(dask.address, work)
    assert result.client.sent == server.count == 200
    assert result.response is not None
    assert floor_ms > 0


def test_a_worker_of_another_version_is_refused(dask: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "msgspec" else ours(name))
    with pytest.raises(ClusterError, match=r"Dask worker tcp://\S+ has msgspec \S+ instead of 9\.9"):
        on(dask.address, lambda load: asyncio.sleep(0))


def test_what_cannot_be_reached_is_said(dask: Cluster, own_dask: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ cannot reach http://127\.0\.0\.1:9/ .*refused"):
        on(dask.address, lambda load: load.check(["http://127.0.0.1:9/"]))
    monkeypatch.setattr(crew, "MUSTERED_WITHIN_S", 0.1)
    with pytest.raises(ClusterError, match=r"has no workers; start some with `dask worker tcp://"):
        on(own_dask.address, lambda load: asyncio.sleep(0))
    own_dask.scheduler.kill()
    monkeypatch.setattr(link, "CONNECTED_WITHIN_S", 0.5)
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at tcp://"):
        on(own_dask.address, lambda load: asyncio.sleep(0))
    with pytest.raises(ClusterError, match=r"TLS needs Dask's settings"):
        on(own_dask.address.replace("tcp", "tls"), lambda load: asyncio.sleep(0))


def test_a_killed_worker_marks_its_cell_and_the_rest_goes_on(own_dask: Cluster, server: CountingServer) -> None:
    first, second = own_dask.add(), own_dask.add()
    spec = LoadSpec(url=server.url, clients=4, stop=StopRule(seconds=1.5, max_seconds=1.5))
    endless = LoadSpec(url=server.url, clients=4, stop=ENDLESS)

    async def killed(load: ClusterLoad, spec: LoadSpec, victim: Any) -> LoadResult:
        ticks: list[Tick] = []
        running = asyncio.create_task(load.run(spec, on_tick=ticks.append))
        await soon(lambda: len(ticks) > 4 and ticks[-1].requests, "a few ticks")
        victim.kill()
        return await running

    async def work(load: ClusterLoad) -> tuple[LoadResult, LoadResult]:
        broken = await killed(load, spec, second)
        sound = await load.run(LoadSpec(url=server.url, clients=4, stop=StopRule(requests=100, max_seconds=None)))
        with pytest.raises(RunIncomplete, match="All Dask workers are lost"):
            await killed(load, endless, first)
        return broken, sound

    broken, sound = on(own_dask.address, work)
    assert "WORKER-LOST" in broken.flags
    lost = broken.errors["worker lost"]
    assert lost.count > 0
    assert f"{lost.count} of its requests were known" in lost.example
    assert (broken.origin.workers, broken.origin.lost) == (2, 1)
    assert broken.requests > 0
    assert sound.requests == 100
    assert sound.flags == ()
    assert (sound.origin.workers, sound.origin.lost) == (1, 0)


def test_a_scheduler_that_goes_ends_the_run_and_one_that_comes_back_is_used(
    own_dask: Cluster, server: CountingServer
) -> None:
    own_dask.add(nanny=True)
    port = int(own_dask.address.rpartition(":")[2])

    async def work(load: ClusterLoad) -> None:
        ticks: list[Tick] = []
        running = asyncio.create_task(load.run(LoadSpec(url=server.url, stop=ENDLESS), on_tick=ticks.append))
        await soon(lambda: ticks, "a tick")
        own_dask.scheduler.kill()
        await running

    with pytest.raises(RunIncomplete, match=r"scheduler at tcp://.* is gone"):
        on(own_dask.address, work)
    until(lambda: server.connections == 0, "that the load has ended")
    own_dask.start_scheduler(port)
    own_dask.add()
    spec = LoadSpec(url=server.url, stop=StopRule(requests=10, max_seconds=None))
    assert on(own_dask.address, lambda load: load.run(spec)).requests == 10


def test_what_goes_wrong_on_a_cluster_of_ours_is_not_its_start() -> None:
    async def fail(load: ClusterLoad) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        on("local:1", fail)


def test_the_load_command_starts_a_cluster_here(server: CountingServer, tmp_path: Path) -> None:
    done = tfserve("load", server.url, "-c", "2", "-n", "50", "--cluster", "local:2", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["requests"] == server.count == 50
    assert said["origin"]["workers"] == 2


PRESET = """
[shared]
title = "Shared"
ladders = [{ kind = "concurrency", sizes = [4] }]
rounds = 2
min-seconds = 0.2
min-requests = 8
warmup-seconds = 0.05
"""


def test_a_run_says_where_its_load_came_from(dask: Cluster, tmp_path: Path) -> None:
    servers = PredictingServer(), PredictingServer()
    (tmp_path / "CONFIG").mkdir()
    (tmp_path / "CONFIG" / "presets.toml").write_text(PRESET)
    tables = [f'[{name}]\nruntime = "external"\nurl = "{one.url}"\n' for name, one in zip(NAMES, servers, strict=True)]
    settings = tmp_path / "tfserve.toml"
    settings.write_text('[model]\nname = "m"\n' + "".join(tables) + '[bench]\ncluster = "tcp://127.0.0.1:1"\n')
    try:
        run_shared = ("run", "shared", "--cluster", dask.address, "--json", "--export", "run.md")
        done = tfserve("--config", str(settings), *run_shared, folder=tmp_path)
    finally:
        for server in servers:
            server.close()
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    facts = {fact["key"]: fact["text"] for fact in run["started"]["facts"]}
    assert facts["load from"].startswith("2 Dask workers on 1 host;")
    assert run["started"]["fingerprint"]["load from"] == "2 Dask workers on 1 host"
    assert {cell["origin"]["workers"] for cell in run["cells"]} == {2}
    assert "where the load came from" in (tmp_path / "run.md").read_text(encoding="utf-8")
