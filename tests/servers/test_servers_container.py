"""TensorFlow Serving as a container, on a real engine, with an image that stands in for the real one."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest
import standin_image
from docker.types import LogConfig
from places import Place, probe, run_owner, until

from serving_ctl.errors import ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers.container_calls import logs, remove
from serving_ctl.servers.container_spec import container_name, container_spec, docker_command
from serving_ctl.servers.ports import accepts, holder
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.remote import Reach

NAME = "tf-serving"
Names = Callable[[], list[str]]


def name_of(place: Place) -> str:
    return container_name(StateFiles(place.state, NAME))


def test_container_whose_log_cannot_be_read_is_removed(
    containers: Names, engine: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    made = engine.containers.create(image, log_config=LogConfig(type="none"))
    made.start()
    assert made.name
    assert logs(engine, made.name, 5) == ""
    remove(engine, made.name, 0, tmp_path / "log")
    assert containers() == []


@pytest.mark.parametrize("network", ["published", "host"])
def test_start_until_ready_then_stop(
    place: Place, containers: Names, engine: docker.DockerClient, network: str
) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker", network=network)
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.state, ready.runtime, ready.version) == (ServerState.READY, "docker", "2.20.0")
        assert ready.label == ("docker" if network == "published" else "docker, host network")
        assert await fleet.check(NAME) == ready
        assert fleet.log_file(NAME) is None
        assert "Successfully loaded" in "\n".join(await fleet.log_tail(NAME, 10))
        assert await fleet.sample(NAME) is None
        usage = await fleet.sample(NAME)
        assert usage is not None
        assert usage.processes == 3  # init, the entry point's shell, the server
        assert usage.memory_mb > 1
        assert (usage.received_mb_s is None) == (network == "host")
        await fleet.stop(NAME)
        await fleet.stop(NAME)
        assert "Successfully loaded" in "\n".join(await fleet.log_tail(NAME, 10))
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "stopping", "stopped"]
    assert containers() == []


def test_container_is_hardened_and_equals_the_command_shown(
    place: Place, containers: Names, engine: docker.DockerClient
) -> None:
    options = {"rest_threads": 3, "memory": "300m", "cpuset": "0"}

    async def scenario() -> dict[str, Any]:
        fleet = place.fleet("docker", **options)
        await fleet.start(NAME, probe=probe)
        attributes = engine.containers.get(name_of(place)).attrs
        await fleet.stop(NAME)
        await fleet.close()
        return dict(attributes)

    ours = asyncio.run(scenario())
    spec = container_spec(place.settings("docker", **options), StateFiles(place.state, NAME), place.model, Reach())
    by_hand = created_by(docker_command(spec), engine)
    host = ours["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert (host["PidsLimit"], host["Memory"], host["CpusetCpus"], host["Init"]) == (4 * 3 + 128, 300 << 20, "0", True)
    assert [(mount["Type"], mount["RW"]) for mount in ours["Mounts"]] == [("bind", False)] * 2
    assert host["PortBindings"] == {"8501/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(place.port)}]}
    same = ("ReadonlyRootfs", "CapDrop", "SecurityOpt", "PidsLimit", "Init", "Tmpfs", "Mounts", "PortBindings")
    for key in (*same, "Memory", "MemorySwap", "CpusetCpus"):
        assert by_key(host[key]) == by_key(by_hand["HostConfig"][key]), key
    for key in ("User", "Cmd", "Labels", "Entrypoint"):
        assert ours["Config"][key] == by_hand["Config"][key], key
    assert set(ours["Config"]["Env"]) == set(by_hand["Config"]["Env"])


def created_by(command: str, engine: docker.DockerClient) -> dict[str, Any]:
    """What the engine makes of a ``docker run`` line, without running it."""
    words = shlex.split(command)
    assert words[:3] == ["docker", "run", "-d"]
    made = subprocess.run(["docker", "create", *words[3:]], check=True, capture_output=True, text=True)
    container = engine.containers.get(made.stdout.strip())
    container.remove(force=True)
    return dict(container.attrs)


def by_key(value: Any) -> Any:
    """Lists of mounts in one order."""
    return sorted(value, key=str) if isinstance(value, list) else value


def test_container_outlives_its_owner_and_is_adopted(place: Place, containers: Names, image: str) -> None:
    run_owner(place, "ready", "docker", image=image)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.adopt()
        found = fleet.current(NAME)
        assert (found.state, found.label, found.version) == (ServerState.READY, "docker", "2.20.0")
        await fleet.stop(NAME)
        await fleet.close()

    assert containers() == [name_of(place)]
    asyncio.run(scenario())
    assert containers() == []


def test_half_started_container_is_found(place: Place, containers: Names, image: str) -> None:
    place.script(never_ready=True)
    run_owner(place, "waiting for REST", "docker", image=image)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.adopt()
        assert fleet.current(NAME).state is ServerState.DEGRADED
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["degraded", "stopping", "stopped"]
    assert containers() == []


def test_cancelled_start_leaves_no_container(place: Place, containers: Names) -> None:
    place.script(never_ready=True)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        starting = asyncio.create_task(fleet.start(NAME, probe=probe))
        await until(containers)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert containers() == []
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "stopped"]


def test_container_removed_by_somebody_else_is_noticed(
    place: Place, containers: Names, engine: docker.DockerClient
) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        engine.containers.get(name_of(place)).remove(force=True)
        failed = await fleet.check(NAME)
        assert (failed.state, "removed by somebody else" in failed.detail) == (ServerState.FAILED, True)
        await fleet.close()

    asyncio.run(scenario())
    assert not place.record.exists()


def test_dead_port_proxy_is_degraded_and_a_restart_helps(place: Place, containers: Names) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        proxy = psutil.Process(int(re.findall(r"docker-proxy \(pid (\d+)\)", holder(place.port))[0]))
        proxy.kill()
        await until(lambda: not proxy.is_running() or proxy.status() == psutil.STATUS_ZOMBIE)
        degraded = await fleet.check(NAME)
        assert degraded.state is ServerState.DEGRADED
        assert "Docker's port proxy has died" in degraded.detail
        assert (await fleet.restart(NAME, probe=probe)).state is ServerState.READY
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert containers() == []


def test_engine_that_goes_away_is_degraded_until_it_is_back(
    place: Place, containers: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("DOCKER_HOST", f"unix://{place.state}/no.sock")
            await fleet.close()  # the next call connects anew
            degraded = await fleet.check(NAME)
            assert (degraded.state, "Docker does not run here" in degraded.detail) == (ServerState.DEGRADED, True)
            assert await fleet.sample(NAME) is None
            assert await fleet.log_tail(NAME, 1) == [degraded.detail]
            with pytest.raises(ServerStartError, match="Docker does not run here"):
                await fleet.stop(NAME)
        assert (await fleet.check(NAME)).state is ServerState.READY
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


def test_log_flood_does_not_hold_up_the_start(place: Place, containers: Names) -> None:
    place.script(flood=20_000)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        assert len(await fleet.log_tail(NAME, 100)) == 100
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


def test_port_taken_by_a_container_says_so(place: Place, containers: Names, engine: docker.DockerClient) -> None:
    other = engine.containers.run(
        standin_image.IMAGE,
        entrypoint=[
            "/usr/bin/tensorflow_model_server",
            "--rest_api_port=8501",
            "--model_name=x",
            "--model_base_path=/",
        ],
        ports={"8501/tcp": ("127.0.0.1", place.port)},
        detach=True,
    )

    async def scenario() -> None:
        fleet = place.fleet("docker")
        with pytest.raises(ServerStartError, match=rf"port {place.port} is taken by docker-proxy .*see docker ps"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())
    assert containers() == [other.name]
    other.remove(force=True)


def test_all_serving_containers_are_listed_and_any_can_be_stopped(
    place: Place, containers: Names, engine: docker.DockerClient
) -> None:
    other = engine.containers.create(standin_image.IMAGE, name=f"standin-{place.flask_port}")

    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        found = {one.name: one for one in await fleet.containers()}
        ours, foreign = found[name_of(place)], found[str(other.name)]
        assert (ours.ours, ours.folder, ours.status) == (True, str(place.state), "running")
        assert ours.url == f"http://127.0.0.1:{place.port}"
        assert (foreign.ours, foreign.url, foreign.status) == (False, "", "created")
        await fleet.stop_container(foreign.name)
        assert containers() == [ours.name]
        with pytest.raises(ServerStartError, match=f"no container {foreign.name}"):
            await fleet.stop_container(foreign.name)
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("network", ["published", "host"])
def test_container_of_somebody_else_is_adopted(
    place: Place, containers: Names, engine: docker.DockerClient, network: str
) -> None:
    name = f"standin-{place.flask_port}"
    words = ["--model_name=m", "--model_base_path=/"]
    if network == "host":
        words.append(f"--rest_api_port={place.port}")
    way = {"network_mode": "host"} if network == "host" else {"ports": {"8501/tcp": ("127.0.0.1", place.port)}}
    engine.containers.run(standin_image.IMAGE, command=words, name=name, detach=True, **way)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        await until(lambda: accepts(place.port))
        found = await fleet.adopt_container(name, probe)
        assert (found.state, found.version, found.ours) == (ServerState.READY, "2.20.0", True)
        assert found.url == f"http://127.0.0.1:{place.port}"
        assert found.label == ("docker, adopted" if network == "published" else "docker, adopted, host network")
        assert "Successfully loaded" in "\n".join(await fleet.log_tail(NAME, 10))
        with pytest.raises(ServerStartError, match="tf-serving already runs"):
            await fleet.adopt_container(name, probe)
        again = place.fleet("docker")
        await again.adopt()
        assert again.current(NAME).label == found.label
        assert (await fleet.check(NAME)).state is ServerState.READY
        await again.stop(NAME)
        for one in (fleet, again):
            await one.close()

    asyncio.run(scenario())
    assert place.states() == ["ready", "stopping", "stopped"]
    assert containers() == []


def test_container_that_cannot_be_adopted_is_left_as_it_is(
    place: Place, containers: Names, engine: docker.DockerClient
) -> None:
    other = engine.containers.create(
        standin_image.IMAGE, name=f"standin-{place.flask_port}", command=["--model_name=x"]
    )

    async def refusal(name: str) -> str:
        fleet = place.fleet("docker")
        with pytest.raises(ServerStartError) as caught:
            await fleet.adopt_container(name, probe)
        await fleet.close()
        return str(caught.value)

    assert "there is no container absent" in asyncio.run(refusal("absent"))
    assert "is created, not running" in asyncio.run(refusal(str(other.name)))
    other.start()
    assert "does not publish its REST port (8501)" in asyncio.run(refusal(str(other.name)))
    assert containers() == [other.name]
    assert not place.record.exists()
    other.remove(force=True)


def test_absent_image_says_what_to_do(place: Place, engine: docker.DockerClient) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker", image="tfserve-tui-test/absent:none")
        with pytest.raises(ServerStartError, match="Docker has no image tfserve-tui-test/absent:none; fetch it with"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())


def test_model_the_container_could_not_read_is_refused(place: Place, containers: Names) -> None:
    (place.model / "1").chmod(0o700)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        with pytest.raises(ServerStartError, match=r"not readable for the container's user; run: chmod -R a\+rX"):
            await fleet.start(NAME, probe=probe)
        await fleet.close()

    asyncio.run(scenario())
    assert containers() == []
