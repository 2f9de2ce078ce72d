"""Pulling from a registry on loopback: progress, cancelling, and the platform checked before a byte is fetched."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator

import docker
import docker.errors
import httpx
import pytest
import standin_image
from places import Place, free_port, probe, until

from serving_ctl.errors import ServerStartError
from serving_ctl.events import ServerChanged, ServerState
from serving_ctl.servers.pull import PullProgress

NAME = "tf-serving"
Push = Callable[..., str]
CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture(scope="module")
def registry(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a registry of our own."""
    program = shutil.which("docker-registry")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("docker-registry is not installed (apt-get install docker-registry)")
        pytest.skip("docker-registry is not installed")
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "data", port=port), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while not _answers(f"http://127.0.0.1:{port}/v2/"):
        assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def push(registry: str, engine: docker.DockerClient, image: str) -> Iterator[Push]:
    """Put the stand-in image, with ``size_mb`` that no engine has yet, into the registry under ``tag``."""
    tags = []

    def put(tag: str, *, size_mb: int) -> str:
        repository = f"{registry}/tfserve-tui-test/{tag}"
        made = subprocess.run(
            ["docker", "import", *_changes(), "-", f"{repository}:1"],
            input=_with_ballast(size_mb),
            check=True,
            capture_output=True,
        )
        assert made.stdout
        tags.append(f"{repository}:1")
        assert "errorDetail" not in str(engine.images.push(repository, tag="1"))
        engine.images.remove(tags[-1], force=True)
        return tags[-1]

    yield put
    for tag in tags:
        try:
            for container in engine.containers.list(all=True, filters={"ancestor": tag}):
                container.remove(force=True)
            engine.images.remove(tag, force=True)
        except docker.errors.ImageNotFound:
            continue


def test_pull_tells_its_progress_then_the_image_runs(place: Place, push: Push, engine: docker.DockerClient) -> None:
    tag = push("pulled", size_mb=5)

    async def scenario() -> None:
        fleet = place.fleet("auto", image=tag)
        ready = await fleet.start(NAME, probe=probe, pull=True)
        assert (ready.state, ready.runtime, ready.version) == (ServerState.READY, "docker", "2.20.0")
        assert ready.detail == f"auto: docker, with {tag} pulled"
        await fleet.stop(NAME)
        await fleet.close()

    asyncio.run(scenario())
    told = [event.detail for event in place.events if isinstance(event, ServerChanged)]
    assert f"asking the registry for {tag}" in told
    assert any(detail.startswith("pulling: ") and detail.endswith("1 layers done") for detail in told)


def test_cancelled_pull_ends(place: Place, push: Push, engine: docker.DockerClient) -> None:
    tag = push("cancelled", size_mb=40)

    async def scenario() -> None:
        fleet = place.fleet("docker", image=tag)
        starting = asyncio.create_task(fleet.start(NAME, probe=probe, pull=True))
        await until(lambda: fleet.current(NAME).detail.startswith("pulling: "))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "stopped"]
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(tag)


def test_image_of_another_processor_is_refused_before_the_pull(place: Place, registry: str) -> None:
    tag = put_foreign(registry)

    async def scenario() -> None:
        fleet = place.fleet("docker", image=tag)
        with pytest.raises(ServerStartError, match=r'is published for s390x, this engine is \w+; use runtime = "embed'):
            await fleet.start(NAME, probe=probe, pull=True)
        await fleet.close()

    asyncio.run(scenario())
    told = [event.detail for event in place.events if isinstance(event, ServerChanged)]
    assert not any(detail.startswith("pulling") for detail in told)


def put_foreign(registry: str) -> str:
    """An image for another processor, put into the registry through its HTTP API; it has no layers."""
    base = f"http://{registry}/v2/tfserve-tui-test/foreign"
    config = json.dumps({"architecture": "s390x", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []})
    with httpx.Client(trust_env=False) as http:
        place = http.post(f"{base}/blobs/uploads/").headers["Location"]
        http.put(place, params={**httpx.URL(place).params, "digest": digest}, content=config).raise_for_status()
        http.put(f"{base}/manifests/1", content=manifest, headers={"Content-Type": kind}).raise_for_status()
    return f"{registry}/tfserve-tui-test/foreign:1"


def test_unknown_image_is_told(place: Place, registry: str) -> None:
    async def scenario() -> None:
        fleet = place.fleet("docker", image=f"{registry}/tfserve-tui-test/nothing:1")
        with pytest.raises(ServerStartError, match="nothing:1 cannot be pulled: "):
            await fleet.start(NAME, probe=probe, pull=True)
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "failed"]


def test_progress_adds_up_over_layers() -> None:
    progress = PullProgress()
    progress.add({"status": "Pulling from tensorflow/serving", "id": "2.20.0"})
    progress.add({"status": "Already exists", "id": "a"})
    progress.add({"status": "Downloading", "id": "b", "progressDetail": {"current": 10_000_000, "total": 40_000_000}})
    text = progress.add(
        {"status": "Downloading", "id": "c", "progressDetail": {"current": 5_000_000, "total": 60_000_000}}
    )
    assert text == "pulling: 15 of 100 MB, 1 layers done"
    assert progress.add({"status": "Pull complete", "id": "b"}) == "pulling: 45 of 100 MB, 2 layers done"
    with pytest.raises(ServerStartError, match="cannot be pulled: no space left"):
        progress.add({"error": "no space left"})


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _changes() -> list[str]:
    return [word for change in standin_image.CHANGES for word in ("--change", change)]


def _with_ballast(size_mb: int) -> bytes:
    packed = io.BytesIO(standin_image.archive())
    with tarfile.open(fileobj=packed, mode="a") as archive:
        entry = tarfile.TarInfo("ballast")
        entry.size = size_mb << 20
        archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    return packed.getvalue()
