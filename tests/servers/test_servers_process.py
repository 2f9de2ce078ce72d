"""A server as a process: started, proven, followed and stopped whole. Real processes, real ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest
from places import Place, probe, processes_of, until

from serving_ctl.errors import ConfigError, ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers.fleet import Fleet
from serving_ctl.servers.supervisor import added_lines

NAME = "tf-serving"


def test_start_until_ready_then_stop_whole(place: Place) -> None:
    async def scenario() -> None:
        fleet = place.fleet()
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.state, ready.version, ready.label) == (ServerState.READY, "2.20.0", "native")
        assert ready.ours
        assert ready.cold_ms is not None
        assert await fleet.start(NAME, probe=probe) == ready
        assert await fleet.check(NAME) == ready
        assert await fleet.sample(NAME) is None
        usage = await fleet.sample(NAME)
        assert usage is not None
        assert usage.memory_mb > 1
        assert "Successfully loaded" in "\n".join(await fleet.log_tail(NAME, 10))
        assert fleet.log_file(NAME) == place.state / "tf-serving.log"
        assert len(processes_of(place.state)) == 1
        await fleet.stop(NAME, hard=True)
        await fleet.stop(NAME)
        assert await fleet.sample(NAME) is None
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "stopping", "stopped"]
    assert processes_of(place.state) == []
    assert not place.record.exists()


def test_taken_port_names_its_holder(place: Place) -> None:
    async def scenario() -> None:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match=rf"port {place.port} is taken by .+\(pid {os.getpid()}\)"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    with socket.create_server(("127.0.0.1", place.port)):
        asyncio.run(scenario())
    assert place.states() == ["starting", "failed"]


def test_stranger_that_takes_the_port_meanwhile_is_not_taken_for_ours(place: Place) -> None:
    place.script(deaf=True)
    stranger: list[subprocess.Popen[bytes]] = []

    async def scenario() -> None:
        fleet = place.fleet()
        starting = asyncio.create_task(fleet.start(NAME, probe=probe))
        await until(lambda: fleet.current(NAME).detail == "waiting for REST")
        other = place.state.parent / "other"
        (other / "1").mkdir(parents=True)
        words = [str(place.binary), f"--rest_api_port={place.port}", "--model_name=m", f"--model_base_path={other}"]
        stranger.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))  # noqa: ASYNC220
        with pytest.raises(ServerStartError, match=rf"taken by .+\(pid {stranger[0].pid}\)"):
            await starting
        assert stranger[0].poll() is None
        await fleet.close()

    try:
        asyncio.run(scenario())
    finally:
        stranger[0].kill()
        stranger[0].wait()


def test_timeout_leaves_nothing_and_says_what_was_awaited(place: Place) -> None:
    place.script(never_ready=True)

    async def scenario() -> None:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match=r"not ready within 1 s; last log line: .*Exporting HTTP"):
            await fleet.start(NAME, probe=probe, timeout_s=1)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "failed"]
    assert processes_of(place.state) == []
    assert not place.record.exists()


def test_cancelled_start_leaves_nothing(place: Place) -> None:
    place.script(never_ready=True)

    async def scenario() -> None:
        fleet = place.fleet()
        starting = asyncio.create_task(fleet.start(NAME, probe=probe))
        await until(lambda: processes_of(place.state))
        starting.cancel()
        await asyncio.sleep(0)
        starting.cancel()  # a second Ctrl-C does not cut the clearing up short
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert fleet.current(NAME).detail == "start cancelled"
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "stopped"]
    assert processes_of(place.state) == []
    assert not place.record.exists()


def test_model_folder_is_checked_first(place: Place) -> None:
    async def start(model: Path) -> str:
        fleet = Fleet(place.settings(model=model), place.events.append)
        with pytest.raises(ServerStartError) as failure:
            await fleet.start(NAME, probe=probe)
        await fleet.close()
        return str(failure.value)

    absent = place.model / "absent"
    assert f"model folder {absent} does not exist" in asyncio.run(start(absent))
    (absent / "v1").mkdir(parents=True)
    assert "no numeric version folder in" in asyncio.run(start(absent))
    (absent / "2").mkdir()
    assert f"{absent / '2'} has no saved_model.pb" in asyncio.run(start(absent))


def test_log_is_followed_until_the_end(place: Place) -> None:
    async def scenario() -> list[str]:
        fleet = place.fleet()
        await fleet.start(NAME, probe=probe)
        log = fleet.log_file(NAME)
        assert log is not None
        heard = []
        async with asyncio.timeout(20), contextlib.aclosing(fleet.follow_log(NAME)) as lines:
            hearing = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)  # it has read what is there already, and waits
            with log.open("a", encoding="utf-8") as writing:
                writing.write("\x1b[31mone\x1b[0m\ntwo\n")
            heard.append((await hearing).text)
            heard.append((await anext(lines)).text)
            await fleet.stop(NAME)
            heard += [line.text async for line in lines]
        await fleet.close()
        return heard

    assert asyncio.run(scenario())[:2] == ["one", "two"]


def test_added_lines_are_those_after_the_overlap() -> None:
    assert added_lines(["a", "b"], ["a", "b", "c"]) == ["c"]
    assert added_lines(["a", "b", "c"], ["c", "d"]) == ["d"]
    assert added_lines(["a"], ["x", "y"]) == ["x", "y"]
    assert added_lines([], ["x"]) == ["x"]
    assert added_lines(["a"], ["a"]) == []


def test_wrong_words_are_refused(place: Place) -> None:
    async def scenario() -> None:
        fleet = place.fleet(binary="/no/such/program")
        with pytest.raises(ServerStartError, match="no program /no/such/program on PATH"):
            await fleet.start(NAME, probe=probe)
        with pytest.raises(ConfigError, match="flask has no runtime 'docker'; it has: external, gunicorn"):
            await fleet.start("flask", probe=probe, runtime="docker")
        with pytest.raises(ConfigError, match='runtime = "external" needs url'):
            await fleet.start(NAME, probe=probe, runtime="external")
        await fleet.close()

    asyncio.run(scenario())
