"""The command: its errors, its exit codes, and that a failed or stopped export leaves nothing behind."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from textcnn_export.__main__ import main

ROOT = Path(__file__).parents[2]


def run_python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_help_imports_neither_tensorflow_nor_numpy() -> None:
    done = run_python(
        "import sys; from textcnn_export.__main__ import main; code = main(['--help']);"
        "print({'tensorflow', 'numpy', 'rich'} & set(sys.modules)); sys.exit(code)"
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: textcnn-export [OPTIONS]")
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--version", "0"], "0 is not in the range"),
        (["--version", str(2**63)], "is not in the range"),
        (["--version", "one"], "'one' is not a valid integer"),
        (["--model-name", "a/b"], "'a/b' is not a model name"),
        (["--model-name", ".."], "'..' is not a model name"),
        (["--model-name", ""], "'' is not a model name"),
        (["--nosuch"], "No such option"),
    ],
)
def test_bad_arguments_end_with_2(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "release"), *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_version_is_refused_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "text_cnn" / "3"
    kept.mkdir(parents=True)
    (kept / "saved_model.pb").write_text("mine")
    assert main(["--out", str(tmp_path), "--version", "3"]) == 2
    said = f"{kept} exists and is never overwritten; leave out --version for the next free one\n"
    assert capsys.readouterr().err == said
    assert (kept / "saved_model.pb").read_text() == "mine"


def test_without_tensorflow_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = run_python(
        "import sys; sys.modules['tensorflow'] = None; from textcnn_export.__main__ import main;"
        "sys.exit(main(['--out', sys.argv[1]]))",
        tmp_path / "release",
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "textcnn-export needs tfserve-tui[local]: pip install 'tfserve-tui[local]'"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("in_the_way", ["release", "release/text_cnn"])
def test_a_file_in_the_way_is_named(in_the_way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / in_the_way
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("not a folder")
    assert main(["--out", str(tmp_path / "release"), "--no-train"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"cannot export to {tmp_path / 'release' / 'text_cnn'}: File exists: {blocked}")
    assert blocked.read_text() == "not a folder"


def test_a_file_size_limit_ends_the_export_cleanly(tmp_path: Path) -> None:
    done = run_python(
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "from textcnn_export.__main__ import main; sys.exit(main(['--no-train', '--out', sys.argv[1]]))",
        tmp_path / "release",
    )
    assert done.returncode == 2
    folder = tmp_path / "release" / "text_cnn"
    assert done.stderr.splitlines()[-1] == (
        f"cannot export to {folder}: File too large; choose another folder with --out"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_export_cleanly(tmp_path: Path) -> None:
    """A file system of 5 MB, mounted where only this process and its children see it."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no mount namespace of our own")
    script = (
        'mount -t tmpfs -o size=5m tmpfs "$1" && { "$2" -m textcnn_export --no-train --out "$1/release"; '
        'code=$?; ls -A "$1"; exit $code; }'
    )
    done = subprocess.run(
        [*alone, "sh", "-c", script, "sh", str(tmp_path), sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        f"cannot export to {tmp_path / 'release' / 'text_cnn'}: No space left on device; "
        "free some space, or choose another folder with --out"
    )


def test_sigterm_while_training_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "textcnn_export", "--out", str(tmp_path / "release")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        seen = list(itertools.takewhile(lambda line: not line.startswith("epoch"), process.stderr))
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read().splitlines()
    assert seen == ["starting TensorFlow\n"]
    assert process.returncode == 143
    assert said[-1] == "stopped, nothing was left behind"
    assert not any("Traceback" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_under_the_progress_bar_of_a_terminal_leaves_nothing(tmp_path: Path) -> None:
    terminal, program_side = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "textcnn_export", "--out", str(tmp_path / "release")],
        cwd=ROOT,
        stderr=program_side,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(program_side)
    with process:
        shown = b""
        while b"epoch 1/2" not in shown:
            shown += os.read(terminal, 4096)
        assert list((tmp_path / "release" / "text_cnn").iterdir())
        process.send_signal(signal.SIGINT)
        shown += read_to_end(terminal)
    os.close(terminal)
    assert process.returncode == 130
    assert "━".encode() in shown
    assert b"stopped, nothing was left behind" in shown
    assert b"Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def read_to_end(terminal: int) -> bytes:
    """What is still written to a pseudo-terminal until its program ends (Linux says EIO then)."""
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            return shown
        if not part:
            return shown
        shown += part


def test_two_untrained_exports_at_once_get_two_equal_versions(
    tmp_path: Path, export: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: export("--out", tmp_path, "--model-name", "twin", "--no-train"), range(2)))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    folders = [tmp_path / "twin" / "1", tmp_path / "twin" / "2"]
    assert sorted(one.stdout for one in done) == [f"{folder}\n" for folder in folders]
    assert sorted((tmp_path / "twin").iterdir()) == folders
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in folders]
    assert files[0] == files[1]
    weights = [(folder / "variables" / "variables.data-00000-of-00001").read_bytes() for folder in folders]
    requests = [(folder / "assets.extra" / "requests.jsonl").read_bytes() for folder in folders]
    assert requests[0] == requests[1]
    assert weights[0] == weights[1]
