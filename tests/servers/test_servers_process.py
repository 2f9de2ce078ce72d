"""A server as a process: started, proven, watched, found again and stopped whole. Real processes, real ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from places import HERE, Place, probe, processes_of, until

from serving_ctl.errors import ConfigError, ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers.fleet import Fleet
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.supervisor import added_lines

NAME = "tf-serving"
# Another tfserve-tui: starts the server and dies by SIGKILL, once ready or while it starts.
OWNER = """
import asyncio, os, signal, sys
sys.path[:0] = sys.argv[1:3]
from places import probe
from serving_ctl.config import load_settings
from serving_ctl.events import ServerState
from serving_ctl.servers.fleet import Fleet

def hear(event):
    if sys.argv[4] == "waiting" and event.detail == "waiting for REST":
        os.kill(os.getpid(), signal.SIGKILL)

fleet = Fleet(load_settings(__import__("pathlib").Path(sys.argv[3])), hear)
asyncio.run(fleet.start("tf-serving", probe=probe))
os.kill(os.getpid(), signal.SIGKILL)
"""


def pid_of(place: Place) -> int:
    return int(json.loads(place.record.read_text(encoding="utf-8"))["pid"])


def run_owner(place: Place, when: str, runtime: str = "native", **serving: str) -> None:
    """Let another process start the server and die by SIGKILL ``when`` ("ready" or "waiting")."""
    options = {"binary": str(place.binary)} | serving
    lines = [f'{name} = "{value}"' for name, value in options.items()]
    settings = place.state.parent / "settings.toml"
    settings.write_text(
        f'[model]\nname = "m"\npath = "{place.model}"\n'
        f'[tf-serving]\nruntime = "{runtime}"\nport = {place.port}\n' + "\n".join(lines),
        encoding="utf-8",
    )
    project = str(HERE.parents[1])
    ended = subprocess.run([sys.executable, "-c", OWNER, project, str(HERE), settings, when], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL


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


def test_server_outlives_its_owner_and_is_adopted(place: Place) -> None:
    run_owner(place, "ready")

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.adopt()
        found = fleet.current(NAME)
        assert (found.state, found.version, found.ours) == (ServerState.READY, "2.20.0", True)
        assert found.cold_ms is not None
        assert await fleet.start(NAME, probe=probe) == found
        assert len(processes_of(place.state)) == 1
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["ready", "stopping", "stopped"]
    assert place.states("flask") == ["stopped"]


def test_half_started_server_is_found_and_replaced(place: Place) -> None:
    place.script(never_ready=True)
    run_owner(place, "waiting")
    left_over = pid_of(place)

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.adopt()
        assert fleet.current(NAME).state is ServerState.DEGRADED
        assert "restart it" in fleet.current(NAME).detail
        place.script()
        await fleet.start(NAME, probe=probe)
        assert pid_of(place) != left_over
        assert [process.pid for process in processes_of(place.state)] == [pid_of(place)]
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["degraded", "stopping", "stopped", "starting", "ready", "stopping", "stopped"]


def test_process_started_just_before_its_owner_died_is_found(place: Place) -> None:
    """The record is written before the process exists; with no pid in it, the mark in the environment finds it."""
    run_owner(place, "ready")
    record = json.loads(place.record.read_text(encoding="utf-8"))
    place.record.write_text(json.dumps(record | {"pid": None, "created": None, "ready": False}), encoding="utf-8")

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.adopt()
        assert fleet.current(NAME).state is ServerState.DEGRADED
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert processes_of(place.state) == []


def test_stale_record_is_forgotten_and_a_stranger_is_left_alone(place: Place) -> None:
    run_owner(place, "ready")
    os.kill(pid_of(place), signal.SIGKILL)
    record = json.loads(place.record.read_text(encoding="utf-8"))
    place.record.write_text(json.dumps(record | {"pid": os.getpid()}), encoding="utf-8")

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.adopt()
        assert fleet.current(NAME).state is ServerState.STOPPED
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
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


@pytest.mark.parametrize("name", ["bad_config_text", "corrupt_saved_model_no_retries", "batching_file_without_flag"])
def test_death_at_start_is_told_with_code_and_reason(place: Place, name: str) -> None:
    place.script(log=(HERE / "data" / "logs" / f"{name}.log").read_text(encoding="utf-8"), exit=255)

    async def scenario() -> str:
        fleet = place.fleet()
        with pytest.raises(ServerStartError) as failure:
            await fleet.start(NAME, probe=probe)
        assert fleet.current(NAME).detail == str(failure.value)
        assert await fleet.log_tail(NAME, 5)
        await fleet.close()
        return str(failure.value)

    text = asyncio.run(scenario())
    assert text.startswith("tf-serving ended with exit code 255: ")
    assert "\n" not in text
    assert place.states() == ["starting", "failed"]


def test_log_that_proves_waiting_useless_ends_the_wait(place: Place) -> None:
    place.script(log=(HERE / "data" / "logs" / "no_versions.log").read_text(encoding="utf-8"), never_ready=True)

    async def scenario() -> None:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match="cannot become ready: There is no numeric version folder"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())
    assert processes_of(place.state) == []


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


def test_answer_that_blames_our_body_is_ready_but_not_proven(place: Place) -> None:
    place.script(predict_status=400, predict_error="JSON Value: 1.0 not as expected")

    async def scenario() -> None:
        fleet = place.fleet()
        ready = await fleet.start(NAME, probe=probe)
        assert ready.state is ServerState.READY
        assert ready.cold_ms is None
        assert "ready, predict not proven: " in ready.detail
        assert "JSON Value: 1.0 not as expected" in ready.detail
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [500, 412])
def test_server_that_cannot_predict_does_not_start(place: Place, status: int) -> None:
    place.script(predict_status=status, predict_error="Could not find variable")

    async def scenario() -> None:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match=f"up but cannot predict: .*{status}: Could not find variable"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())
    assert processes_of(place.state) == []


def test_predict_that_fails_later_is_degraded_until_it_works_again(place: Place) -> None:
    """A suspended process is alive and answers nothing."""

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.start(NAME, probe=probe)
        assert (await fleet.prove(NAME, probe)).state is ServerState.READY
        psutil.Process(pid_of(place)).suspend()
        degraded = await fleet.prove(NAME, probe)
        assert (degraded.state, "does not predict" in degraded.detail) == (ServerState.DEGRADED, True)
        assert (await fleet.check(NAME)).state is ServerState.DEGRADED
        psutil.Process(pid_of(place)).resume()
        assert (await fleet.prove(NAME, probe)).state is ServerState.READY
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


def test_death_by_itself_is_noticed(place: Place) -> None:
    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.start(NAME, probe=probe)
        dying = psutil.Process(pid_of(place))
        dying.send_signal(signal.SIGSEGV)
        await until(lambda: dying.status() == psutil.STATUS_ZOMBIE)
        await fleet.check(NAME)
        assert "tf-serving ended by SIGSEGV" in fleet.current(NAME).detail
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "failed"]
    assert not place.record.exists()


def test_two_at_once_share_one_server(place: Place) -> None:
    place.script(delay_s=0.5)

    async def scenario() -> None:
        one, other = place.fleet(), place.fleet()
        first, second = await asyncio.gather(one.start(NAME, probe=probe), other.start(NAME, probe=probe))
        assert first.started_at == second.started_at
        assert len(processes_of(place.state)) == 1
        await other.stop(NAME)
        stopped = await one.check(NAME)
        assert (stopped.state, stopped.detail) == (ServerState.STOPPED, "stopped by another tfserve-tui")
        await other.start(NAME, probe=probe)
        assert (await one.check(NAME)).state is ServerState.READY
        await one.stop(NAME)
        for fleet in (one, other):
            await fleet.close()

    asyncio.run(scenario())
    assert processes_of(place.state) == []


def test_server_that_another_is_starting_is_left_to_it(place: Place) -> None:
    place.script(delay_s=0.5)

    async def scenario() -> None:
        owner, other = place.fleet(), place.fleet()
        starting = asyncio.create_task(owner.start(NAME, probe=probe))
        await until(lambda: processes_of(place.state))
        await other.adopt()
        assert other.current(NAME).state is ServerState.STOPPED
        assert other.current(NAME).detail == "another tfserve-tui is starting it"
        ready = await starting
        assert await other.check(NAME) == ready
        await owner.stop(NAME)
        for fleet in (owner, other):
            await fleet.close()

    asyncio.run(scenario())


def test_lock_of_another_is_waited_for_within_the_limit(place: Place) -> None:
    async def scenario() -> None:
        fleet = place.fleet()
        async with StateFiles(place.state, NAME).locked(1):
            with pytest.raises(ServerStartError, match="another tfserve-tui is starting or stopping it"):
                await fleet.start(NAME, probe=probe, timeout_s=0.3)
        await fleet.close()

    asyncio.run(scenario())
    assert place.events == []


def test_running_with_other_settings_is_told(place: Place) -> None:
    async def scenario() -> None:
        fleet, other = place.fleet(), place.fleet(rest_threads=4)
        await fleet.start(NAME, probe=probe)
        await other.adopt()
        assert other.current(NAME).detail == "started with other settings: rest-threads 0 → 4"
        with pytest.raises(ServerStartError, match=r"other settings \(rest-threads 0 → 4\); restart it"):
            await other.start(NAME, probe=probe)
        restarted = await other.restart(NAME, probe=probe)
        assert restarted.state is ServerState.READY
        await other.stop(NAME)
        for one in (fleet, other):
            await one.close()

    asyncio.run(scenario())


def test_external_server_is_asked_but_never_stopped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.start(NAME, probe=probe)
        monkeypatch.setenv("TFSERVE_STATE_DIR", str(place.state.parent / "guest"))
        guest = place.fleet("external", url=f"http://127.0.0.1:{place.port}/")
        ready = await guest.start(NAME, probe=probe)
        assert (ready.ours, ready.label, ready.version) == (False, "external", "?")
        await guest.stop(NAME)
        assert guest.current(NAME).detail == "left running: it is not ours"
        assert (await fleet.check(NAME)).state is ServerState.READY
        await fleet.stop(NAME)
        for one in (fleet, guest):
            await one.close()

    asyncio.run(scenario())


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
