"""What ``doctor`` finds: what is well, what bars one way to serve, what would fail a start, and the fix."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from places import Place, probe

from serving_ctl.errors import ServerStartError
from serving_ctl.servers.checkup import Finding
from serving_ctl.servers.fleet import Fleet

NAME = "tf-serving"


def examine(fleet: Fleet, clients: int = 100) -> dict[str, Finding]:
    async def look() -> dict[str, Finding]:
        try:
            return {finding.key: finding for finding in await fleet.examine(clients)}
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


def test_running_and_failed_servers_are_told(place: Place) -> None:
    place.script(log="Failed to start server. Error: INTERNAL: broken", exit=255)

    async def scenario() -> tuple[Finding, ...]:
        fleet = place.fleet()
        with pytest.raises(ServerStartError, match="broken"):
            await fleet.start(NAME, probe=probe)
        failed = await fleet.examine(1)
        place.script()
        await fleet.start(NAME, probe=probe)
        running = await fleet.examine(1)
        await fleet.stop(NAME)
        await fleet.close()
        return (*[one for one in failed if one.key == NAME], *[one for one in running if "listens" in one.text])

    failed, running = asyncio.run(scenario())
    assert (failed.mark, "INTERNAL: broken" in failed.text) == ("fail", True)
    assert running.text == "tf-serving listens here (native)"
