"""Real servers to start and stop: a stand-in for tensorflow_model_server, as a program and as an image."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import psutil
import pytest

from serving_ctl.api.metadata import ServedModel
from serving_ctl.config import FlaskSettings, ModelSettings, Settings, TfServingSettings
from serving_ctl.events import Event, ServerChanged
from serving_ctl.servers.fleet import Fleet
from serving_ctl.servers.ports import require_free
from serving_ctl.servers.spec import MARK_VARIABLE

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
import standin_image  # noqa: E402
from free_ports import free_port  # noqa: E402

# Another tfserve-tui: starts the server and dies by SIGKILL, once ready, while it starts or while it stops.
OWNER = """
import asyncio, os, signal, sys
sys.path[:0] = sys.argv[1:3]
from places import probe
from serving_ctl.config import load_settings
from serving_ctl.events import ServerState
from serving_ctl.servers.fleet import Fleet

def hear(event):
    if sys.argv[4] in (event.detail, event.state.value):
        os.kill(os.getpid(), signal.SIGKILL)

async def live():
    await fleet.start("tf-serving", probe=probe)
    await fleet.stop("tf-serving")

fleet = Fleet(load_settings(__import__("pathlib").Path(sys.argv[3])), hear)
asyncio.run(live())
"""


def probe(model: ServedModel) -> bytes:
    """A predict body for the stand-in."""
    assert model.signatures[0].inputs[0].dtype == "float"
    return json.dumps({"instances": [1.0, 2.0]}).encode()


async def until(fact: Callable[[], Any], limit_s: float = 20) -> None:
    """Return when ``fact()`` holds."""
    async with asyncio.timeout(limit_s):
        while not fact():  # noqa: ASYNC110 - the facts are of other processes, which set no event here
            await asyncio.sleep(0.02)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every living process that was started for the state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK_VARIABLE, "").endswith(f"@{folder}")
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class Place:
    """A state folder, a model folder with the stand-in's script, and the events of every fleet made here."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.model = folder / "model"
        self.state.mkdir()
        version = self.model / "1"
        version.mkdir(parents=True)
        (version / "saved_model.pb").touch()
        for path in (self.model, version):
            path.chmod(0o755)
        self.port, self.flask_port = free_port(), free_port()
        self.events: list[Event] = []
        self.binary = folder / "tensorflow_model_server"
        source = (HERE / "standin_server.py").read_text(encoding="utf-8")
        self.binary.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
        self.binary.chmod(0o755)

    def script(self, **words: Any) -> None:
        """What the stand-in does wrong; see standin_server.Script."""
        (self.model / "standin.json").write_text(json.dumps(words), encoding="utf-8")

    def settings(self, runtime: str = "native", model: Path | None = None, **serving: Any) -> Settings:
        options = {"binary": str(self.binary), "port": self.port, "image": standin_image.IMAGE} | serving
        return Settings(
            model=ModelSettings(name="m", path=str(model or self.model)),
            tf_serving=TfServingSettings(runtime=runtime, **options),  # type: ignore[arg-type]
            flask=FlaskSettings(port=self.flask_port, workers=1),
        )

    def fleet(self, runtime: str = "native", **serving: Any) -> Fleet:
        return Fleet(self.settings(runtime, **serving), self.events.append)

    def states(self, server: str = "tf-serving") -> list[str]:
        """The states told, in order, repetitions left out."""
        told = [
            event.state.value for event in self.events if isinstance(event, ServerChanged) and event.server == server
        ]
        return [state for index, state in enumerate(told) if index == 0 or told[index - 1] != state]

    @property
    def record(self) -> Path:
        return self.state / "tf-serving.json"


def pid_of(place: Place) -> int:
    return int(json.loads(place.record.read_text(encoding="utf-8"))["pid"])


def run_owner(place: Place, when: str, runtime: str = "native", **serving: str) -> None:
    """Let another process start the server and die by SIGKILL ``when`` (a state, or what its detail says)."""
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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """State and model folders of one test; a process left over fails it, and is killed."""
    here = Place(tmp_path)
    monkeypatch.setenv("TFSERVE_STATE_DIR", str(here.state))
    yield here
    left = processes_of(here.state)
    for process in left:
        process.kill()
    assert not left, f"left running: {left}"
    for port in (here.port, here.flask_port):
        require_free("this test", port)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine; without one the test is skipped, but not in CI."""
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> Iterator[str]:
    """The stand-in image, removed at the end with what was made of it."""
    yield standin_image.build(engine)
    standin_image.remove(engine)


@pytest.fixture
def containers(engine: docker.DockerClient, image: str) -> Iterator[Callable[[], list[str]]]:
    """Names of all containers of the stand-in image; one left over fails the test, and is removed."""

    def names() -> list[str]:
        return [
            found.name or ""
            for found in engine.containers.list(all=True, ignore_removed=True, filters={"ancestor": image})
        ]

    yield names
    left = names()
    for name in left:
        engine.containers.get(name).remove(force=True)
    assert not left, f"left over: {left}"
