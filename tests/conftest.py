"""What all tests share: which of them stay together, one trained text CNN, and what a machine must have for a test."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

# Machines are shared and noisy: an example that takes long is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]

# What there is once, by folder: the machine's Docker engine, a session's servers, TensorFlow in the test process. The
# tests that use it run in one worker of pytest-xdist, one after the other; any other test runs wherever there is room.
TOGETHER = {
    "embedded": {"server", "impatient"},
    "flask_serving": {"serving"},
    "servers": {"engine"},
    "textcnn_export": {"tensorflow"},
}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that stay together."""
    for item in items:
        folder = item.path.parent.name
        if TOGETHER.get(folder, set()) & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(folder))


def made_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """A folder that ``make`` filled and what it said, made once a session: by the first worker that needs it."""
    base = temporary.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    said = shared / f"{name}.said"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            shutil.rmtree(shared / name, ignore_errors=True)  # of a worker that failed
            (shared / name).mkdir()
            text = make(shared / name)
            said.write_text(text, encoding="utf-8")
    return shared / name, said.read_text(encoding="utf-8")


def require(present: bool, what: str) -> None:
    """Skip where ``what`` is absent; in CI, where everything is installed, fail."""
    if present:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def tmux() -> str:
    """Path of tmux."""
    return required_program("tmux")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium."""
    return required_program("chromium")


def required_program(name: str) -> str:
    """Path of a program without which a test cannot be done."""
    found = shutil.which(name)
    require(found is not None, name)
    return str(found)


def run_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, with every Python warning an error."""
    command = [sys.executable, "-W", "error", "-m", "textcnn_export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


@dataclass(frozen=True)
class Exported:
    """A finished export: where it is and what the command said."""

    folder: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def export() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in a process of its own."""
    return run_export


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The default export: trained, version 1."""

    def make(folder: Path) -> str:
        done = run_export("--out", folder)
        assert done.returncode == 0, done.stderr
        return json.dumps([done.stdout, done.stderr])

    folder, said = made_once(tmp_path_factory, "trained", make)
    return Exported(folder / "text_cnn" / "1", *json.loads(said))


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden models, one folder each."""
    return made_once(tmp_path_factory, "golden", lambda folder: run_script("golden_models.py", folder))[0]


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of a model that takes its time."""
    return made_once(tmp_path_factory, "slow", lambda folder: run_script("embedded/slow_model.py", folder / "1"))[0]


def run_script(name: str, folder: Path) -> str:
    """Run a script of the tests in a process of its own; what it printed."""
    command = [sys.executable, str(ROOT / "tests" / name), str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
