"""A Docker engine that counts as another machine: copies in volumes, the port at an address or through a tunnel.

It is this machine's engine behind ``tcp://`` or ``ssh://``; nothing that it serves came over a bind mount.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import psutil
import pytest
from places import HERE, Place, free_port, probe, processes_of, until
from test_servers_container import name_of

from serving_ctl.config import TfServingSettings
from serving_ctl.errors import ServerStartError
from serving_ctl.events import ServerState
from serving_ctl.servers.docker import Engine, EngineError
from serving_ctl.servers.fleet import Fleet
from serving_ctl.servers.ports import accepts
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.remote import Reach, close_tunnel, open_tunnel, reach, tunnel_command

NAME = "tf-serving"
FORWARDING = HERE / "forwarding.py"
Names = Callable[[], list[str]]


@pytest.fixture
def tcp_engine(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """DOCKER_HOST is an engine behind tcp://."""
    port = free_port()
    carrier = subprocess.Popen(
        [sys.executable, "-IS", FORWARDING, "-N", "-L", f"127.0.0.1:{port}:/var/run/docker.sock"]
    )
    while not accepts(port):
        assert carrier.poll() is None
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    yield f"tcp://127.0.0.1:{port}"
    carrier.kill()
    carrier.wait()


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ssh`` on PATH that reaches this machine, whatever it is asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(f"#!{sys.executable} -IS\n{FORWARDING.read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def volumes(engine: docker.DockerClient) -> Callable[[Place], list[str]]:
    """Names of the volumes made for a place."""

    def names(place: Place) -> list[str]:
        return sorted(one.name or "" for one in engine.volumes.list() if (one.name or "").startswith(name_of(place)))

    return names


def test_copies_are_served_and_removed_with_the_container(
    place: Place, containers: Names, engine: docker.DockerClient, tcp_engine: str, volumes: Callable[[Place], list[str]]
) -> None:
    (place.model / "1").chmod(0o700)  # of no account: the copy can be read by everybody

    async def scenario() -> None:
        fleet = place.fleet("docker")
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.label, ready.url) == ("docker on 127.0.0.1", f"http://127.0.0.1:{place.port}")
        mounts = engine.containers.get(name_of(place)).attrs["Mounts"]
        assert {(mount["Type"], mount["RW"]) for mount in mounts} == {("volume", False)}
        assert volumes(place) == [f"{name_of(place)}-config", f"{name_of(place)}-model"]
        assert containers() == [name_of(place)]
        assert "type=volume,source=" in fleet.docker_command()
        assert (await fleet.check(NAME)).state is ServerState.READY
        assert [one.url for one in await fleet.containers() if one.name == name_of(place)] == [ready.url]
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "stopping", "stopped"]
    assert (containers(), volumes(place)) == ([], [])


def test_cancelled_start_leaves_no_volume(
    place: Place, containers: Names, tcp_engine: str, volumes: Callable[[Place], list[str]]
) -> None:
    place.script(never_ready=True)

    async def scenario() -> None:
        fleet = place.fleet("docker")
        starting = asyncio.create_task(fleet.start(NAME, probe=probe))
        await until(containers)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "stopped"]
    assert (containers(), volumes(place)) == ([], [])


def test_container_on_another_engine_is_not_taken_for_lost(
    place: Place, containers: Names, tcp_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker")
        await fleet.start(NAME, probe=probe)
        await fleet.close()
        with monkeypatch.context() as elsewhere:
            elsewhere.delenv("DOCKER_HOST")
            other = place.fleet("docker")
            await other.adopt()
            assert f"Its container is on the Docker engine {tcp_engine}" in other.current(NAME).detail
            with pytest.raises(EngineError, match="choose that DOCKER_HOST or context"):
                await other.stop(NAME)
            await other.close()
        again = place.fleet("docker")
        await again.adopt()
        assert again.current(NAME).state is ServerState.READY
        await again.stop(NAME)
        await again.close()

    asyncio.run(scenario())
    assert containers() == []


def test_engine_that_is_not_there_is_named(place: Place, ssh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")

    async def ask() -> None:
        await Engine().host()

    with pytest.raises(EngineError, match=r"Docker at tcp://127\.0\.0\.1:\d+ cannot be reached: Connection refused\."):
        asyncio.run(ask())
    monkeypatch.setenv("DOCKER_HOST", "ssh://nobody@engine.test")
    with pytest.raises(
        EngineError, match=r"Docker at ssh://nobody@engine\.test cannot be reached: .*Permission denied"
    ):
        asyncio.run(ask())


def test_way_to_the_port() -> None:
    plain, named = TfServingSettings(), TfServingSettings(address="10.0.0.5")
    host = TfServingSettings(address="box.lan")
    assert reach("", named) == Reach()
    assert reach("tcp://10.0.0.7:2376", plain) == Reach("tcp://10.0.0.7:2376", bind="10.0.0.7", address="10.0.0.7")
    assert reach("ssh://me@box", named) == Reach("ssh://me@box", bind="10.0.0.5", address="10.0.0.5")
    assert reach("ssh://me@box", host) == Reach("ssh://me@box", bind="0.0.0.0", address="box.lan")
    assert reach("ssh://me@box", plain) == Reach("ssh://me@box", tunnel=True)


def test_tunnel_is_told_as_people_write_it() -> None:
    words = tunnel_command("ssh://me@box:2222", 8501, 49153)
    assert words[:2] == ("ssh", "-N")
    assert words[-5:] == ("-L", "127.0.0.1:8501:127.0.0.1:49153", "-p", "2222", "me@box")
    assert "BatchMode=yes" in words
    assert tunnel_command("ssh://box", 1, 2)[-1] == "box"


def test_tunnel_carries_the_port_and_is_closed(place: Place, ssh: None) -> None:
    files = StateFiles(place.state, NAME)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as far:
            await open_tunnel(files, tunnel_command("ssh://me@box", place.port, far.getsockname()[1]), place.port)
            assert accepts(place.port)
            assert len(processes_of(place.state)) == 1
            close_tunnel(files)
            await until(lambda: not processes_of(place.state))

    asyncio.run(scenario())


def test_tunnel_that_is_refused_says_why(place: Place, ssh: None) -> None:
    command = tunnel_command("ssh://nobody@engine.test", place.port, 1)
    with pytest.raises(ServerStartError, match=r"no SSH tunnel through nobody@engine\.test: .*Permission denied"):
        asyncio.run(open_tunnel(StateFiles(place.state, NAME), command, place.port))


def test_server_behind_ssh_from_start_to_stop(
    place: Place,
    containers: Names,
    ssh: None,
    volumes: Callable[[Place], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@engine.test")

    async def scenario() -> None:
        fleet = place.fleet("docker")
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.label, ready.url) == ("docker on engine.test, SSH tunnel", f"http://127.0.0.1:{place.port}")
        (tunnel,) = processes_of(place.state)
        tunnel.kill()
        await until(lambda: not psutil.pid_exists(tunnel.pid) or tunnel.status() == psutil.STATUS_ZOMBIE)
        degraded = await fleet.check(NAME)
        assert "its SSH tunnel at port" in degraded.detail
        await fleet.close()
        await adopt_again()

    async def adopt_again() -> None:
        fleet: Fleet = place.fleet("docker")
        await fleet.adopt()
        assert fleet.current(NAME).state is ServerState.READY  # with a tunnel of its own
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready", "degraded", "ready", "stopping", "stopped"]
    assert (containers(), volumes(place)) == ([], [])
