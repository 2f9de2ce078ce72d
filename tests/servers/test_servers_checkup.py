"""What ``doctor`` finds: what is well, what bars one way to serve, what would fail a start, and the fix."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest
from places import Place, probe

from serving_ctl.config import FlaskSettings
from serving_ctl.errors import ServerStartError
from serving_ctl.servers import checkup
from serving_ctl.servers import docker as docker_engine
from serving_ctl.servers.checkup import Finding
from serving_ctl.servers.fleet import Fleet

NAME = "tf-serving"


def examine(fleet: Fleet, clients: int = 100, batch: int = 1000) -> dict[str, Finding]:
    async def look() -> dict[str, Finding]:
        try:
            return {finding.key: finding for finding in await fleet.examine(clients, batch)}
        finally:
            await fleet.close()

    return asyncio.run(look())


def test_everything_in_order(place: Place, image: str) -> None:
    found = examine(place.fleet())
    assert {key for key, finding in found.items() if finding.mark == "fail"} == set()
    assert found["docker"].mark == "ok"
    assert f"{image} (sha256:" in found["docker"].text
    assert found["native"].text == str(place.binary)
    assert "tensorflow 2." in found["local"].text
    assert found[f"port {place.port}"].text == "free for tf-serving"
    assert all(finding.text for finding in found.values())


def test_no_model_is_needed_for_servers_of_somebody_else(place: Place) -> None:
    theirs = {"runtime": "external", "url": "http://127.0.0.1:9"}
    settings = place.settings("external", model=place.state / "nowhere", url=theirs["url"])
    assert examine(Fleet(settings, place.events.append))["model"].mark == "fail", "flask is ours"
    settings = msgspec.structs.replace(settings, flask=FlaskSettings(**theirs))  # type: ignore[arg-type]
    found = examine(Fleet(settings, place.events.append))
    assert (found["model"].mark, "somebody else" in found["model"].text) == ("ok", True)


def test_what_would_fail_a_start(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "batching.config").write_text("max_batch_sise { value: 1 }\n", encoding="utf-8")
    (place.model / "1" / "saved_model.pb").unlink()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place.state}/no.sock")
    with socket.create_server(("127.0.0.1", place.port)):
        found = examine(place.fleet(binary="no_such_model_server"), clients=10**9)
    assert found["docker"].mark == "warn"
    assert "does not run here" in found["docker"].text
    assert found["native"].mark == "warn"
    assert found["model"].mark == "fail"
    assert f"(pid {os.getpid()})" in found[f"port {place.port}"].text
    assert found["open files"].fix == f"raise the hard limit: ulimit -Hn {10**9 + 256}"
    config = found["config batching.config"]
    assert (config.mark, "configs/batching.config:1" in config.text) == ("fail", True)
    assert "max_batch_sise" in config.text


def test_image_that_is_absent(place: Place, engine: docker.DockerClient) -> None:
    absent = "tfserve-tui-test/absent:none"
    found = examine(place.fleet(image=absent))["docker"]
    assert (found.mark, found.fix) == ("warn", f"docker pull {absent}, or --pull")
    assert f"without {absent}" in found.text


def test_socket_without_permission(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")  # root, who runs CI, is refused by no socket

    monkeypatch.setattr(docker_engine, "require_listener", refuse)
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    found = examine(place.fleet())["docker"]
    assert (found.mark, "join the group docker" in found.text) == ("warn", True)


@pytest.mark.parametrize(
    ("machine", "cpu", "mark", "words"),
    [
        ("x86_64", "flags : fpu sse avx avx2 ", "ok", "x86_64"),
        ("x86_64", "flags : fpu sse ", "fail", "no AVX"),
        ("aarch64", "", "warn", "TensorFlow Serving has no image for it, embedded runs"),
    ],
)
def test_processor(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, cpu: str, mark: str, words: str
) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text(cpu, encoding="utf-8")
    monkeypatch.setattr(checkup, "CPU_INFO", described)
    monkeypatch.setattr(checkup.platform, "machine", lambda: machine)
    found = examine(place.fleet())["processor"]
    assert (found.mark, words in found.text) == (mark, True)


def test_disk_that_is_full(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "LOW_DISK_BYTES", 1 << 62)
    found = examine(place.fleet())
    assert {found[key].mark for key in ("state folder", "model folder")} == {"warn"}
    assert found["state folder"].fix == "free some space"


def test_flags_and_the_largest_batch(place: Place) -> None:
    def look(batch: int, **serving: Any) -> dict[str, Finding]:
        return examine(place.fleet("embedded", **serving), batch=batch)

    assert not {"flags", "batching"} & set(look(10_000))
    wrong = look(1, flags={"enable_baching": True})["flags"]
    assert (wrong.mark, "did you mean 'enable_batching'?" in wrong.text) == ("fail", True)
    defaults = look(10_000, flags={"enable_batching": True})
    assert (defaults["flags"].mark, defaults["flags"].text) == ("ok", "embedded takes enable_batching")
    assert defaults["batching"].mark == "warn"
    assert "the largest batch of the presets is 10000, with batching the server takes at most 1000" in (
        defaults["batching"].text
    )
    assert "batching" not in look(10_000, batching=True)


def test_running_and_failed_servers_are_told(place: Place) -> None:
    place.script(log="Failed to start server. Error: INTERNAL: broken", exit=255)

    async def scenario() -> tuple[Finding, ...]:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match="broken"):
            await fleet.start(NAME, probe=probe)
        failed = await fleet.examine(1, 1)
        place.script()
        await fleet.start(NAME, probe=probe)
        running = await fleet.examine(1, 1)
        await fleet.stop(NAME)
        await fleet.close()
        return (*[one for one in failed if one.key == NAME], *[one for one in running if "listens" in one.text])

    failed, running = asyncio.run(scenario())
    assert (failed.mark, "INTERNAL: broken" in failed.text) == ("fail", True)
    assert running.text == "tf-serving listens here (native)"
