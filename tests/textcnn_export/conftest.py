"""Real exports, made once for all tests that only read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


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
def tensorflow() -> Any:
    """TensorFlow in the test process, imported as the command imports it, with the environment left as it was."""
    from textcnn_export.tensorflow_start import import_tensorflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        import_tensorflow()
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def signatures(trained: Exported, tensorflow: Any) -> Any:
    """The signatures of the trained export, loaded as a server loads them."""
    loaded = tensorflow.saved_model.load(str(trained.folder))
    signatures = loaded.signatures
    signatures.keep_alive = loaded  # the signatures alone do not keep the variables
    return signatures
