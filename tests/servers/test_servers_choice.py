"""What ``auto`` takes and why; nothing is started."""

from __future__ import annotations

import asyncio

import docker
import pytest
from places import Place

from serving_ctl.servers import docker as docker_engine
from serving_ctl.servers.choose import Choice, choose_serving
from serving_ctl.servers.docker import Engine


def choose(place: Place, *, pull: bool = False, **serving: str) -> Choice:
    async def ask() -> Choice:
        engine = Engine()
        try:
            return await choose_serving(place.settings("auto", **serving), engine, "auto", pull=pull)
        finally:
            await engine.close()

    return asyncio.run(ask())


def test_docker_when_it_has_the_image(place: Place, image: str) -> None:
    assert choose(place) == Choice("docker", f"auto: docker, which has {image}")


def test_image_is_pulled_only_when_asked(place: Place, engine: docker.DockerClient) -> None:
    absent = "tfserve-tui-test/absent:none"
    assert choose(place, image=absent) == Choice(
        "native", f"auto: native, for Docker has no image {absent} (--pull fetches it)"
    )
    assert choose(place, image=absent, pull=True) == Choice("docker", f"auto: docker, with {absent} pulled")


def test_embedded_when_there_is_neither(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place.state}/no.sock")
    assert choose(place, binary="no_such_model_server") == Choice(
        "embedded", "auto: embedded, for Docker does not run here and there is no no_such_model_server on PATH"
    )


def test_docker_without_permission_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")  # root, who runs CI, is refused by no socket

    monkeypatch.setattr(docker_engine, "require_listener", refuse)
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    assert choose(place).why == ("auto: native, for Docker: no permission on its socket")
