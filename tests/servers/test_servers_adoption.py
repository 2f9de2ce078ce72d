"""What an earlier or another tfserve-tui started: found again, shared, told from strangers. Real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
from places import Place, pid_of, probe, processes_of, run_owner, until

from serving_ctl.errors import ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers.record import StateFiles

NAME = "tf-serving"


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
    run_owner(place, "waiting for REST")
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


def test_server_that_was_being_stopped_can_be_stopped_again(place: Place) -> None:
    run_owner(place, "stopping")

    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.adopt()
        assert fleet.current(NAME).state is ServerState.READY
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["ready", "stopping", "stopped"]
    assert processes_of(place.state) == []


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
