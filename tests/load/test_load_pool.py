"""The load processes' life: steered, cancelled, killed, orphaned."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from load_servers import Server, by_count

from serving_ctl.errors import LoadError
from serving_ctl.load import pool
from serving_ctl.load.pool import Control, run_load
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Tick, Warmup

FOREVER = StopRule(requests=0, seconds=3600, max_seconds=3600)
Serve = Callable[..., Server]


class Watched:
    """A run under way and what it has said so far."""

    def __init__(self, spec: LoadSpec, *, processes: int = 1) -> None:
        self.control = Control()
        self.ticks: list[Tick] = []
        self.task = asyncio.create_task(
            run_load(spec, processes=processes, on_tick=self.ticks.append, control=self.control)
        )

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not fact():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)

    async def fresh_tick(self, fact: Callable[[Tick], bool]) -> None:
        seen = len(self.ticks)
        await self.until(lambda: any(fact(tick) for tick in self.ticks[seen:]))


@asynccontextmanager
async def running(spec: LoadSpec, *, processes: int = 1) -> AsyncIterator[Watched]:
    watched = Watched(spec, processes=processes)
    await watched.until(lambda: len(watched.ticks) > 0)
    try:
        yield watched
    finally:
        watched.task.cancel()
        await asyncio.gather(watched.task, return_exceptions=True)


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "serving_ctl.load.worker" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


def spec_for(server: Server, **settings: object) -> LoadSpec:
    return LoadSpec(url=server.url, **{"clients": 4, "stop": FOREVER, "tick_s": 0.02, **settings})  # type: ignore[arg-type]


def test_cancelling_leaves_no_process(serve: Serve) -> None:
    async def scenario() -> None:
        async with running(spec_for(serve()), processes=2) as run:
            assert len(children()) == 2
            run.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run.task
        assert children() == []

    asyncio.run(scenario())


def test_a_lost_process_is_marked_and_the_run_retried_once(serve: Serve) -> None:
    async def scenario() -> LoadResult:
        async with running(spec_for(serve())) as run:
            (first,) = children()
            first.send_signal(signal.SIGKILL)
            await run.until(lambda: any(child.pid != first.pid for child in children()))
            await run.fresh_tick(lambda tick: tick.requests > 0)
            run.control.skip()
            return await run.task

    result = asyncio.run(scenario())
    assert set(result.flags) >= {"WORKER-LOST", "SKIPPED"}
    assert result.requests > 0


def test_what_was_said_to_a_lost_process_holds_in_the_retry(serve: Serve) -> None:
    async def scenario() -> LoadResult:
        async with running(spec_for(serve(), warmup=None)) as run:
            run.control.pause()
            run.control.change_clients(-3)
            await run.fresh_tick(lambda tick: tick.in_flight == 0)
            (first,) = children()
            first.send_signal(signal.SIGKILL)
            await run.until(lambda: any(child.pid != first.pid for child in children()))
            retried = len(run.ticks)
            await run.until(lambda: len(run.ticks) >= retried + 3)
            assert {tick.requests for tick in run.ticks[retried:]} == {0}
            run.control.resume()
            await run.fresh_tick(lambda tick: tick.requests > 0 and tick.in_flight == 1)
            run.control.skip()
            return await run.task

    result = asyncio.run(scenario())
    assert set(result.flags) >= {"WORKER-LOST", "SKIPPED"}
    assert result.client.connects == 1


def test_a_process_lost_twice_ends_the_run(serve: Serve) -> None:
    async def scenario() -> None:
        async with running(spec_for(serve())) as run:
            (first,) = children()
            first.kill()
            await run.until(lambda: any(child.pid != first.pid for child in children()))
            await run.fresh_tick(lambda tick: tick.requests > 0)
            children()[0].kill()
            with pytest.raises(LoadError, match=r"lost \(signal 9\)"):
                await run.task

    asyncio.run(scenario())


def test_a_process_that_cannot_start_says_why(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "serving_ctl.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.setattr(pool, "module_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})
    with pytest.raises(LoadError, match=r"exit code 1.*a broken installation"):
        asyncio.run(run_load(spec_for(serve(), stop=by_count(1))))


def test_pause_resume_and_skip(serve: Serve) -> None:
    async def scenario() -> LoadResult:
        async with running(spec_for(serve()), processes=2) as run:
            run.control.pause()
            await run.fresh_tick(lambda tick: tick.in_flight == 0)
            await run.fresh_tick(lambda tick: tick.tick_requests == 0)
            standing = [tick.elapsed_s for tick in run.ticks[-2:]]
            await run.fresh_tick(lambda tick: tick.elapsed_s == pytest.approx(standing[-1], abs=0.5))
            run.control.resume()
            await run.fresh_tick(lambda tick: tick.tick_requests > 0 and tick.in_flight == 4)
            run.control.skip()
            return await run.task

    result = asyncio.run(scenario())
    assert result.flags.count("SKIPPED") == 1
    assert result.requests == result.request.n == result.client.sent


def test_a_paused_schedule_loses_no_request_and_is_not_late(serve: Serve) -> None:
    async def scenario() -> LoadResult:
        stop = StopRule(requests=0, seconds=1, max_seconds=1, floor_requests=0)
        async with running(spec_for(serve(), rate_rps=100.0, stop=stop)) as run:
            run.control.pause()
            await run.fresh_tick(lambda tick: tick.in_flight == 0)
            await run.fresh_tick(lambda tick: tick.tick_requests == 0)
            run.control.change_clients(-2)
            run.control.change_clients(1)
            run.control.resume()
            return await run.task

    result = asyncio.run(scenario())
    assert result.client.sent == result.requests == 100
    assert result.response is not None
    assert result.response.max_us < result.client.wall_s * 1e6


def test_more_and_fewer_clients(serve: Serve) -> None:
    async def scenario() -> None:
        async with running(spec_for(serve()), processes=2) as run:
            run.control.change_clients(3)
            await run.fresh_tick(lambda tick: tick.in_flight == 7)
            run.control.change_clients(-5)
            await run.fresh_tick(lambda tick: tick.in_flight == 2)
            run.control.change_clients(-100)
            await run.fresh_tick(lambda tick: tick.in_flight == 2)

    asyncio.run(scenario())


def test_commands_before_the_start_are_kept(serve: Serve) -> None:
    async def scenario() -> LoadResult:
        control = Control()
        control.skip()
        return await run_load(spec_for(serve(), warmup=None), control=control)

    result = asyncio.run(scenario())
    assert "SKIPPED" in result.flags


@pytest.mark.parametrize("at_once", [True, False])
def test_a_pause_and_a_change_before_the_window_hold_in_it(serve: Serve, at_once: bool) -> None:
    """At once, or between the warm-up and the window."""

    async def scenario() -> LoadResult:
        control, ticks = Control(), list[Tick]()

        def steer() -> None:
            control.pause()
            control.change_clients(3)

        async def warm() -> None:
            if not at_once:
                steer()

        if at_once:
            steer()
        warmup = None if at_once else Warmup(requests=1, seconds=0)
        spec = spec_for(serve(), clients=1, warmup=warmup, stop=by_count(50))
        task = asyncio.create_task(run_load(spec, control=control, on_warm=warm, on_tick=ticks.append))
        async with asyncio.timeout(30):
            while sum(tick.phase == "window" for tick in ticks) < 3:
                assert not task.done(), "it was not paused"
                await asyncio.sleep(0.01)
        assert {tick.requests for tick in ticks if tick.phase == "window"} == {0}
        control.resume()
        return await task

    result = asyncio.run(scenario())
    assert result.requests == 50
    assert result.client.connects == 4


def test_a_process_lost_in_the_middle_of_a_line_is_lost() -> None:
    program = 'import os; os.write(1, b\'{"type": "res\'); os.kill(os.getpid(), 9)'

    async def scenario() -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=pipe, stdout=pipe, stderr=pipe
        )
        worker = pool._Worker(process)
        with pytest.raises(pool.WorkerLost, match="signal 9"):
            await worker.hear()
        await worker.end()

    asyncio.run(scenario())


def test_load_processes_end_with_their_parent(serve: Serve) -> None:
    program = (
        "import asyncio; from serving_ctl.load.pool import run_load; from serving_ctl.load.work import *\n"
        f"spec = LoadSpec(url={serve().url!r}, stop=StopRule(seconds=3600, max_seconds=3600))\n"
        "asyncio.run(run_load(spec, on_tick=lambda tick: print('tick', flush=True)))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "tick\n"
        (worker,) = psutil.Process(parent.pid).children()
        parent.kill()
    worker.wait(10)
    assert not worker.is_running()


def test_shares_add_up() -> None:
    spec = LoadSpec(url="http://x/", clients=10, stop=StopRule(requests=31), rate_rps=100.0, samples=2)
    shares = pool.split(spec, 3)
    assert [share.clients for share in shares] == [4, 3, 3]
    assert sum(share.stop.requests for share in shares) == 31
    assert sum(share.stop.floor_requests for share in shares) == 5
    assert sum(share.rate_rps or 0 for share in shares) == pytest.approx(100)
    assert [share.first_body for share in shares] == [0, 1, 2]
    assert len({share.seed for share in shares}) == 3
    assert [share.samples for share in shares] == [2, 0, 0]
    assert 1 <= pool.auto_processes(4) <= 4
