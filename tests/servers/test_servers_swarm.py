"""TensorFlow Serving as a Docker Swarm service, on a real Swarm of one node with the stand-in image.

The engine's routing mesh is not used: it needs ip_vs, which a start names where the kernel lacks it.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import msgspec
import pytest
from places import Place, probe
from test_servers_remote import tcp_engine, volumes

from serving_ctl.api.rest import ModelClient
from serving_ctl.bench.endpoint import Endpoint, Follower
from serving_ctl.bench.steering import Steering
from serving_ctl.config import ModelSettings
from serving_ctl.errors import ConfigError, ServerAnswerError, ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.load.pool import run_load
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule
from serving_ctl.servers import swarm as swarm_service
from serving_ctl.servers import swarm_engine
from serving_ctl.servers.docker import Engine
from serving_ctl.servers.fleet import Fleet
from serving_ctl.servers.swarm_engine import mesh_problem, require_swarm, swarm_problem
from serving_ctl.servers.swarm_tasks import Look, Node, read_task

__all__ = ["tcp_engine", "volumes"]
NAME = "tf-serving"
QUICK = {"health_interval_s": 0.3}
Names = Callable[[], list[str]]


@pytest.fixture(scope="session")
def swarm(engine: docker.DockerClient) -> Iterator[None]:
    """The engine is a Swarm manager; what was none before is none again at the end, and keeps no network of it."""
    before = {network.id for network in engine.networks.list()}
    began = engine.info()["Swarm"]["LocalNodeState"] == "inactive"
    if began:
        engine.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:0")
    yield
    if began:
        engine.swarm.leave(force=True)
        for network in engine.networks.list(names=["docker_gwbridge"]):
            if network.id not in before:
                network.remove()


@pytest.fixture
def services(engine: docker.DockerClient, swarm: None, containers: Names) -> Iterator[Callable[[], list[str]]]:
    """Names of the Swarm's services; one that a test leaves over fails it, and is removed."""
    manager: Any = engine.services
    before = {one.id for one in manager.list()}

    def names() -> list[str]:
        return [one.name for one in manager.list() if one.id not in before]

    yield names
    left = names()
    for one in manager.list():
        if one.id not in before:
            one.remove()
    assert not left, f"left over: {left}"


def test_an_engine_that_is_no_manager_is_refused(place: Place, engine: docker.DockerClient, image: str) -> None:
    """Before ``swarm`` is asked for: nothing makes the engine a manager unasked."""
    if engine.info()["Swarm"]["LocalNodeState"] != "inactive":
        assert os.environ.get("CI") != "true", "CI must have an engine in no Swarm"
        pytest.skip("this engine is in a Swarm already")

    async def scenario() -> tuple[str, dict[str, Any]]:
        fleet = place.fleet("swarm")
        with pytest.raises(ServerStartError) as caught:
            await fleet.start(NAME, probe=probe)
        findings = {finding.key: finding for finding in await fleet.examine(1, 1)}
        await fleet.close()
        return str(caught.value), findings

    text, findings = asyncio.run(scenario())
    assert text == "tf-serving: this Docker engine is in no Swarm; make it one of a single node: docker swarm init"
    assert (findings["swarm"].mark, findings["swarm"].text) == ("fail", text)
    assert engine.info()["Swarm"]["LocalNodeState"] == "inactive"


def test_three_tasks_from_deployment_to_removal(
    place: Place, services: Names, containers: Names, engine: docker.DockerClient
) -> None:
    async def scenario() -> None:
        fleet = place.fleet("swarm", replicas=3, **QUICK)
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.state, ready.runtime, ready.version) == (ServerState.READY, "swarm", "2.20.0")
        assert ready.label.startswith("swarm 3 × tfserve-tui-test/serving:")
        tasks = await fleet.tasks()
        assert [(task.slot, task.state, task.error) for task in tasks] == [(n, "running", "") for n in (1, 2, 3)]
        assert tuple(task.url for task in tasks) == ready.addresses
        assert len(set(ready.addresses)) == 3
        hardened(engine, services()[0], tasks[0].container)
        lines = await fleet.log_tail(NAME, 50)
        assert sorted(line[-8:] for line in lines if "Successfully loaded" in line) == [
            f"(task {n})" for n in (1, 2, 3)
        ]
        assert await fleet.sample(NAME) is None
        usage = await fleet.sample(NAME)
        assert usage is not None
        assert usage.processes == 3
        await fleet.close()
        await go_on(ready.addresses)

    async def go_on(addresses: tuple[str, ...]) -> None:
        """Another tfserve-tui, later."""
        fleet = place.fleet("swarm", replicas=3, **QUICK)
        await fleet.adopt()
        found = fleet.current(NAME)
        assert (found.state, found.addresses) == (ServerState.READY, addresses)
        one = await fleet.scale(1, probe)
        assert one.label.startswith("swarm 1 × ")
        assert (one.addresses, one.url in addresses) == ((), True), "the task that stays is the same"
        assert len(await fleet.tasks()) == 1
        await fleet.stop(NAME)
        assert "Successfully loaded" in "\n".join(await fleet.log_tail(NAME, 10))
        with pytest.raises(ServerAnswerError, match="no Swarm service of ours"):
            await fleet.tasks()
        await fleet.close()

    asyncio.run(scenario())
    assert (services(), containers()) == ([], [])


def hardened(engine: docker.DockerClient, service: str, container: str) -> None:
    """As a container of ours, as far as services can be."""
    attributes = engine.containers.get(container).attrs
    host = attributes["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Init"]) == (True, ["ALL"], True)
    assert host["PidsLimit"] > 0
    assert attributes["Config"]["User"] == "65534:65534"
    mounts = {(mount["Type"], mount["Destination"], mount["RW"]) for mount in attributes["Mounts"]}
    assert mounts >= {("bind", "/models/m", False), ("bind", "/config", False)}
    assert attributes["State"]["Health"]["Status"] == "healthy"
    manager: Any = engine.services
    assert manager.get(service).attrs["Spec"]["Labels"]["tfserve-tui.server"] == NAME


def test_killed_task_and_rolling_update_under_load(place: Place, services: Names, engine: docker.DockerClient) -> None:
    async def scenario() -> None:
        fleet = place.fleet("swarm", replicas=2, **QUICK)
        ready = await fleet.start(NAME, probe=probe)
        load = Load(place, fleet)
        await load.started()
        await kill(fleet)
        await fleet.close()
        changed = place.fleet("swarm", replicas=2, rest_threads=3, **QUICK)
        await changed.adopt()
        assert "rest-threads 0 → 3" in changed.current(NAME).detail
        before = set(changed.current(NAME).addresses)
        await cancel_an_update(changed)
        after = await changed.restart(NAME, probe=probe)
        assert not before & set(after.addresses), "each task was replaced"
        assert after.started_at == ready.started_at, "the service was not"
        result = await load.end(after.addresses)
        failed = sum(error.count for error in result.errors.values())
        assert failed > 0, "the killed task was asked before the load had left it"
        assert sum(result.addresses.values()) == result.client.sent == result.requests + failed
        sent_to = {f"http://{name}" for name, sent in result.addresses.items() if sent}
        assert sent_to >= {*ready.addresses, *after.addresses}, "the load followed"
        await changed.stop(NAME)
        await changed.close()

    async def cancel_an_update(fleet: Fleet) -> None:
        settled = fleet.current(NAME).label
        running = asyncio.create_task(fleet.restart(NAME, probe=probe))
        async with asyncio.timeout(30):
            while "rolling update" not in fleet.current(NAME).detail:  # noqa: ASYNC110 - a fact of another process
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.wait([running])
        assert (running.cancelled(), fleet.current(NAME).label) == (True, settled)
        assert "rolling update" not in fleet.current(NAME).detail

    async def kill(fleet: Fleet) -> None:
        victim = (await fleet.tasks())[0]
        engine.containers.get(victim.container).kill()
        await until_state(fleet, ServerState.DEGRADED)
        assert "1 of 2 tasks run; task 1 failed: it ended with exit code 137" in fleet.current(NAME).detail
        await until_state(fleet, ServerState.READY)
        tasks = await fleet.tasks()
        assert [(task.slot, task.wanted) for task in tasks] == [(1, True), (1, False), (2, True)]
        assert "exit code 137" in tasks[1].error

    asyncio.run(scenario())
    assert services() == []


class Load:
    """A load that follows the service's tasks as a run does, from another tfserve-tui than the one that changes it."""

    def __init__(self, place: Place, fleet: Fleet) -> None:
        addresses = fleet.current(NAME).addresses
        self._place, self._fleet, self._steering = place, place.fleet("swarm", replicas=2, **QUICK), Steering()
        client = ModelClient(addresses[0], "m")
        self._endpoint = Endpoint(server=NAME, client=client, places=lambda: self._fleet.current(NAME).addresses)

    async def started(self) -> None:
        """Return when it sends."""
        await self._fleet.adopt()
        url, *also = self._endpoint.predict_urls()
        body = self._place.state / "body.jsonl"
        body.write_text(json.dumps({"instances": [1.0]}), encoding="utf-8")
        stop = StopRule(seconds=120, max_seconds=120)
        steady = {"clients": 2, "rate_rps": 100.0, "stop": stop}
        spec = LoadSpec(url=url, also=tuple(also), movable=True, bodies_file=str(body), **steady)  # type: ignore[arg-type]
        self._ticked = asyncio.Event()
        running = run_load(spec, on_tick=lambda tick: self._ticked.set(), control=self._steering.next_load())
        self._running = asyncio.create_task(running)
        self._following = asyncio.create_task(self._follow())
        await self._tick()

    async def end(self, addresses: tuple[str, ...]) -> LoadResult:
        """Its result, when it has been at ``addresses``."""
        async with asyncio.timeout(30):
            while set(self._fleet.current(NAME).addresses) != set(addresses):
                await self._tick()
            for _ in range(5):
                await self._tick()
        self._steering.skip_cell()
        result = await self._running
        self._following.cancel()
        await asyncio.wait([self._following])
        await self._fleet.close()
        return result

    async def _tick(self) -> None:
        self._ticked.clear()
        await asyncio.wait_for(self._ticked.wait(), 30)

    async def _follow(self) -> None:
        urls = self._endpoint.predict_urls()
        follower = Follower(self._endpoint, self._steering, partial(self._fleet.used, NAME), urls)
        while True:
            await follower.used()
            await asyncio.sleep(0.1)


async def until_state(fleet: Fleet, state: ServerState) -> None:
    async with asyncio.timeout(30):
        while (await fleet.check(NAME)).state is not state:  # noqa: ASYNC110 - a fact of another process
            await asyncio.sleep(0.05)


def test_crash_loop_and_failed_update_say_why(
    place: Place, services: Names, containers: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, whatever the engine's clock says, and the config of what serves stays as it was."""
    monkeypatch.setattr(swarm_service, "time", SimpleNamespace(time=lambda: time.time() + 30, monotonic=time.monotonic))
    place.script(exit=255, log="Failed to start server. Error: UNKNOWN: scripted")
    other = msgspec.structs.replace(
        place.settings("swarm", **QUICK), model=ModelSettings(name="other", path=str(place.model))
    )

    async def scenario() -> None:
        fleet = place.fleet("swarm", replicas=2, **QUICK)
        with pytest.raises(ServerStartError, match=r"task \d failed: it ended with exit code 255: .*scripted"):
            await fleet.start(NAME, probe=probe)
        assert (services(), containers()) == ([], [])
        place.script()
        ready = await fleet.start(NAME, probe=probe)
        await fleet.scale(1, probe)
        place.script(exit=255, log="Failed to start server. Error: UNKNOWN: scripted again")
        await fleet.close()
        fleet = Fleet(other, place.events.append)
        await fleet.adopt()
        with pytest.raises(ServerStartError, match=r"the update was rolled back.* exit code 255: .*scripted again"):
            await fleet.restart(NAME, probe=probe)
        place.script()
        assert 'name: "m"' in (place.state / "tf-serving-config" / "models.config").read_text(encoding="utf-8")
        assert fleet.current(NAME).url in ready.addresses, "the task before it still serves"
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


def test_remote_engine_gets_copies_and_the_tasks_stay_with_them(
    place: Place, services: Names, tcp_engine: str, volumes: Callable[[Place], list[str]], engine: docker.DockerClient
) -> None:
    async def scenario() -> None:
        fleet = place.fleet("swarm", **QUICK)
        ready = await fleet.start(NAME, probe=probe)
        (task,) = await fleet.tasks()
        mounts = engine.containers.get(task.container).attrs["Mounts"]
        assert {(mount["Type"], mount["RW"]) for mount in mounts if mount["Type"] != "tmpfs"} == {("volume", False)}
        assert ready.url == task.url
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert (services(), volumes(place)) == ([], [])


def test_routing_mesh_without_ip_vs_is_refused(
    place: Place, swarm: None, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(swarm_engine, "IP_VS", tmp_path / "ip_vs")
    monkeypatch.setattr(swarm_engine, "MODULES", tmp_path)

    async def refused() -> str:
        docker_engine = Engine()
        with pytest.raises(ServerStartError) as caught:
            await require_swarm(docker_engine, mesh=True)
        await require_swarm(docker_engine, mesh=False)
        await docker_engine.close()
        return str(caught.value)

    assert asyncio.run(refused()) == (
        f"tf-serving: the kernel {platform.release()} has no ip_vs, which Swarm's routing mesh needs;"
        ' set [tf-serving] publish = "host".'
    )
    here = {"KernelVersion": platform.release()}
    modules = tmp_path / platform.release() / "modules.dep"
    modules.parent.mkdir()
    modules.write_text("kernel/net/netfilter/ipvs/ip_vs.ko:\n", encoding="utf-8")
    assert mesh_problem(here) == ""
    modules.unlink()
    assert "no ip_vs" in mesh_problem(here)
    assert mesh_problem({"KernelVersion": "of another machine"}) == ""
    swarm_engine.IP_VS.touch()
    assert mesh_problem(here) == ""


@pytest.mark.parametrize(
    ("state", "manages", "text"),
    [
        ("active", True, ""),
        ("active", False, "a worker of its Swarm; set DOCKER_HOST to a manager"),
        ("locked", False, "docker swarm unlock"),
        ("inactive", False, "docker swarm init"),
        ("error", False, "in state error; no quorum"),
    ],
)
def test_what_keeps_an_engine_from_being_a_manager(state: str, manages: bool, text: str) -> None:
    problem = swarm_problem({"Swarm": {"LocalNodeState": state, "ControlAvailable": manages, "Error": "no quorum"}})
    assert text in problem
    assert bool(problem) == bool(text)


def test_tasks_on_other_nodes_are_reached_at_theirs() -> None:
    nodes = {"a": Node("a", "here", "127.0.0.1", here=True), "b": Node("b", "there", "10.0.0.7", here=False)}

    def task(slot: int, node: str, state: str, wanted: str, second: int, **status: Any) -> dict[str, Any]:
        stamp = {"Timestamp": f"2026-11-22T22:00:0{second}.5Z", "State": state}
        return {"ID": f"{slot}{second}", "Slot": slot, "NodeID": node, "DesiredState": wanted, "Status": stamp | status}

    ports = {"PortStatus": {"Ports": [{"PublishedPort": 32768}]}, "ContainerStatus": {"ContainerID": "c"}}
    found = [
        read_task(one, nodes)
        for one in (
            task(1, "a", "running", "running", 3, **ports),
            task(1, "a", "failed", "shutdown", 2, Err="task: non-zero exit (1)", ContainerStatus={"ExitCode": 1}),
            task(1, "a", "failed", "shutdown", 1, Err="an older one"),
            task(2, "b", "running", "running", 1, **ports),
            task(3, "", "pending", "running", 1, Err="no suitable node"),
            task(4, "a", "shutdown", "shutdown", 1),
        )
    ]
    look = Look(3, "image", mesh=False, update="", update_started="", tasks=tuple(found))
    assert [one.url for one in look.running] == ["http://127.0.0.1:32768", "http://10.0.0.7:32768"]
    assert [one.container for one in look.running] == ["c", ""], "only what is on our engine can be looked into"
    assert look.waiting == "task 3 pending: no suitable node"
    assert [(one.slot, one.error) for one in look.shown()] == [
        (1, ""), (1, "task: non-zero exit (1)"), (2, ""), (3, "no suitable node"),
    ]  # fmt: skip


def test_cores_cannot_be_chosen(place: Place, swarm: None, image: str) -> None:
    async def scenario() -> None:
        fleet = place.fleet("swarm", cpuset="0")
        with pytest.raises(ConfigError, match="a Swarm service cannot choose cores"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())
