"""What goes wrong on a real engine: for each case the states told, the sentence, and that nothing is left behind.

The fixtures look afterwards: no container, no process, both ports free.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import docker
import pytest
from places import Place, probe
from test_servers_container import name_of
from test_servers_doctor import FAULTS, read

from serving_ctl.api.rest import ModelClient
from serving_ctl.errors import ServerAnswerError, ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers import fleet as fleet_module
from serving_ctl.servers.docker import EngineError
from serving_ctl.servers.process import ServerProcess

NAME = "tf-serving"
Names = Callable[[], list[str]]


def failure(place: Place, runtime: str = "docker", timeout_s: float | None = None, **serving: Any) -> str:
    """The sentence of a start that fails."""

    async def scenario() -> str:
        fleet = place.fleet(runtime, **serving)
        with pytest.raises(ServerStartError) as caught:
            await fleet.start(NAME, probe=probe, timeout_s=timeout_s)
        assert fleet.current(NAME).detail == str(caught.value)
        await fleet.close()
        return str(caught.value)

    text = asyncio.run(scenario())
    assert "\n" not in text
    assert place.states() == ["starting", "failed"]
    assert not place.record.exists()
    return text


@pytest.mark.parametrize("name", sorted(name for name, (_, _, hopeless) in FAULTS.items() if hopeless))
def test_each_recorded_log_in_a_container(place: Place, containers: Names, name: str) -> None:
    """As the real server did: it ended with 255, or waited for ever (``# state`` in its last line)."""
    log = read(name)
    ended = re.search(r"^# state .*exited exit=(\d+)", log, re.MULTILINE)
    place.script(log=log, **({"exit": int(ended[1])} if ended else {"never_ready": True}))
    text = failure(place)
    assert FAULTS[name][0] in text
    assert FAULTS[name][1] in text
    how = f"ended with exit code {ended[1]}: " if ended else "cannot become ready: "
    assert text.startswith(f"tf-serving {how}")
    assert containers() == []


def test_slow_start_is_waited_for(place: Place, containers: Names) -> None:
    place.script(delay_s=0.7)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "stopping", "stopped"]


def test_never_ready(place: Place, containers: Names) -> None:
    place.script(never_ready=True)
    assert "not ready within 1 s; last log line: " in failure(place, timeout_s=1)


def test_port_that_never_opens(place: Place, containers: Names) -> None:
    place.script(deaf=True)
    assert "not ready within 1 s" in failure(place, timeout_s=1)


def test_crash_on_start(place: Place, containers: Names) -> None:
    place.script(exit=1, log="terminate called after throwing an instance of 'std::bad_alloc'")
    assert failure(place) == (
        "tf-serving ended with exit code 1: The server ran out of memory."
        " Use fewer workers or a smaller batch, or free some memory."
    )


def test_crash_on_start_without_a_word(place: Place, containers: Names) -> None:
    place.script(exit=3)
    assert failure(place).startswith("tf-serving ended with exit code 3: ")


def test_memory_above_the_limit_at_start(place: Place, containers: Names) -> None:
    place.script(hog_mb=200)
    assert "It was killed for want of memory. Raise or remove the memory limit" in failure(place, memory="60m")


def test_memory_above_the_limit_under_load(place: Place, containers: Names, engine: docker.DockerClient) -> None:
    place.script(hog_on_predict=200, good_predicts=1)

    async def scenario() -> None:
        fleet = place.fleet("docker", memory="60m")
        ready = await fleet.start(NAME, probe=probe)
        async with ModelClient(ready.url, "m") as client:
            with pytest.raises(ServerAnswerError):
                await client.predict(b'{"instances": [1.0]}')
        engine.containers.get(name_of(place)).wait(timeout=10)
        failed = await fleet.check(NAME)
        assert failed.state is ServerState.FAILED
        assert "tf-serving ended with exit code 137: It was killed for want of memory." in failed.detail
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "failed"]


def test_engine_that_goes_between_two_questions(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(running: ServerProcess) -> str:
        raise EngineError(f"{running.record.server}: Docker does not run here")

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.start(NAME, probe=probe)
        with monkeypatch.context() as patched:
            patched.setattr(ServerProcess, "trouble", gone)
            found = await fleet.check(NAME)
        assert (found.state, found.detail) == (ServerState.DEGRADED, f"{NAME}: Docker does not run here")
        assert (await fleet.check(NAME)).state is ServerState.READY
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("runtime", [pytest.param("docker", marks=pytest.mark.xdist_group("servers")), "native"])
def test_ignored_sigterm(
    place: Place, request: pytest.FixtureRequest, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker-init ends what ignores it at once; a process is killed after the grace."""
    if runtime == "docker":
        request.getfixturevalue("containers")
    monkeypatch.setattr(fleet_module, "GRACE_S", 0.3)
    place.script(ignore_sigterm=True)

    async def scenario() -> None:
        fleet = place.fleet(runtime)
        await fleet.start(NAME, probe=probe)
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "stopping", "stopped"]
