"""The two servers that need TensorFlow, with a real model: the embedded one and gunicorn + Flask."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from places import Place, probe, processes_of

from serving_ctl.config import FLASK, TF_SERVING
from serving_ctl.errors import ServerAnswerError, ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers.fleet import Fleet


@pytest.fixture
def half_plus_two(golden: Path) -> Path:
    """A model folder with two versions."""
    return golden / "half_plus_two"


def test_embedded_and_gunicorn_from_start_to_stop(place: Place, half_plus_two: Path) -> None:
    async def scenario() -> None:
        fleet = Fleet(place.settings("embedded", half_plus_two), place.events.append)
        serving = await fleet.start(TF_SERVING, probe=probe)
        assert serving.label == "embedded (TF-Serving-compatible)"
        assert serving.version.startswith("TensorFlow 2.")
        flask = await fleet.start(FLASK, probe=probe)
        assert flask.label == "gunicorn 1 × sync"
        assert flask.version.startswith("gunicorn ")
        assert {serving.state, flask.state} == {ServerState.READY}
        assert serving.cold_ms
        assert flask.cold_ms
        environments = [process.environ() for process in processes_of(place.state)]
        assert {one["TF_ENABLE_ONEDNN_OPTS"] for one in environments} == {"0"}
        await fleet.sample(FLASK)
        usage = await fleet.sample(FLASK)
        assert usage is not None
        assert usage.processes == 2  # the arbiter and its worker
        for server in fleet.servers:
            await fleet.stop(server)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states(FLASK) == ["starting", "ready", "stopping", "stopped"]
    assert processes_of(place.state) == []


def test_gunicorn_that_cannot_load_the_model_says_why(place: Place) -> None:
    """The stand-in's saved_model.pb is an empty file."""

    async def scenario() -> str:
        fleet = place.fleet()
        with pytest.raises(ServerStartError) as failure:
            await fleet.start(FLASK, probe=probe)
        await fleet.close()
        return str(failure.value)

    text = asyncio.run(scenario())
    assert text.startswith("flask ended with exit code 3: ")
    assert str(place.model / "1") in text
    assert "\n" not in text
    assert processes_of(place.state) == []


def test_workers_of_a_killed_arbiter_are_cleared_away(place: Place, half_plus_two: Path) -> None:
    async def scenario() -> None:
        fleet = Fleet(place.settings("native", half_plus_two), place.events.append)
        await fleet.start(FLASK, probe=probe)
        arbiter = next(process for process in processes_of(place.state) if process.children())
        arbiter.send_signal(psutil.signal.SIGKILL)
        arbiter.wait(10)
        failed = await fleet.check(FLASK)
        assert failed.state is ServerState.FAILED
        await fleet.close()

    asyncio.run(scenario())
    assert processes_of(place.state) == []


def test_workers_are_listed_added_replaced_and_removed(place: Place, half_plus_two: Path) -> None:
    async def scenario() -> None:
        fleet = Fleet(place.settings("native", half_plus_two), place.events.append)
        with pytest.raises(ServerAnswerError, match="no gunicorn of ours"):
            await fleet.workers(FLASK)
        ready = await fleet.start(FLASK, probe=probe)
        (worker,) = await fleet.workers(FLASK)
        assert worker.requests >= 3  # status, metadata, predict
        assert worker.memory_mb > 1
        assert worker.cpu_percent is None
        (again,) = await fleet.workers(FLASK)
        assert again.cpu_percent is not None
        assert await asyncio.to_thread(listed_by_command, place) == [worker.pid]
        await fleet.change_workers(FLASK, +1)
        assert fleet.current(FLASK).label == "gunicorn 2 × sync"
        await until_workers(fleet, lambda pids: len(pids) == 2)
        await fleet.replace_worker(FLASK, worker.pid)
        await until_workers(fleet, lambda pids: len(pids) == 2 and worker.pid not in pids)
        await fleet.change_workers(FLASK, -1)
        await until_workers(fleet, lambda pids: len(pids) == 1)
        assert await fleet.check(FLASK) == ready
        with pytest.raises(ServerAnswerError, match=f"Worker {worker.pid} not found"):
            await fleet.replace_worker(FLASK, worker.pid)
        await fleet.stop(FLASK)
        await fleet.close()

    asyncio.run(scenario())
    assert processes_of(place.state) == []


def listed_by_command(place: Place) -> list[int]:
    """The pids that ``tfserve-tui workers`` prints."""
    settings = place.state.parent / "own.toml"
    settings.write_text(f"[flask]\nport = {place.flask_port}\n", encoding="utf-8")
    script = "from serving_ctl.cli import main; import sys; sys.exit(main())"
    words = [sys.executable, "-c", script, "--config", settings, "workers"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head == ["pid", "cpu", "memory", "requests", "age"]
    return [int(row[0]) for row in rows]


def test_workers_that_keep_dying_are_degraded(place: Place, half_plus_two: Path) -> None:
    async def scenario() -> None:
        fleet = Fleet(place.settings("native", half_plus_two), place.events.append)
        await fleet.start(FLASK, probe=probe)
        assert (await fleet.check(FLASK)).state is ServerState.READY
        for _ in range(3):
            (worker,) = await fleet.workers(FLASK)
            psutil.Process(worker.pid).kill()
            await until_workers(fleet, lambda pids, gone=worker.pid: len(pids) == 1 and gone not in pids)
        degraded = await fleet.check(FLASK)
        assert degraded.state is ServerState.DEGRADED
        assert "Workers keep dying: 3 were replaced" in degraded.detail
        await fleet.stop(FLASK)
        await fleet.close()

    asyncio.run(scenario())


async def until_workers(fleet: Fleet, fact: Callable[[set[int]], bool]) -> None:
    async with asyncio.timeout(20):
        while not fact({worker.pid for worker in await fleet.workers(FLASK)}):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
