"""What all tests share: one trained text CNN a session, and what a machine must have for a test."""

from __future__ import annotations

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
    found = shutil.which("tmux")
    require(found is not None, "tmux")
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
    out = tmp_path_factory.mktemp("trained")
    done = run_export("--out", out)
    assert done.returncode == 0, done.stderr
    return Exported(out / "text_cnn" / "1", done.stdout, done.stderr)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden models, one folder each."""
    folder = tmp_path_factory.mktemp("golden")
    script = ROOT / "tests" / "golden_models.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=120)
    return folder
