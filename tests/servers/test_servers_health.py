"""Why a server did not start, or is not well: its end, its log, its answers. Real processes."""

from __future__ import annotations

import asyncio
import signal

import psutil
import pytest
from places import HERE, Place, pid_of, probe, processes_of, until

from serving_ctl.errors import ServerStartError
from serving_ctl.events import ServerState

NAME = "tf-serving"


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


def test_full_disk_is_told(place: Place) -> None:
    (place.state / "tf-serving-config").mkdir()
    (place.state / "tf-serving-config" / "models.config").symlink_to("/dev/full")

    async def scenario() -> None:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match=r"tf-serving cannot be started: The disk is full\. Free some space"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "failed"]


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
