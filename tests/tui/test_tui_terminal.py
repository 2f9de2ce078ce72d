"""The program in a real pseudo-terminal: what it refuses, and how it leaves when it is told to."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import recordings

TFSERVE = [sys.executable, "-m", "tui"]
OWN = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'tui', *sys.argv[1:]])"
)
OWNING = [sys.executable, "-c", OWN]
ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


def spawn(
    arguments: list[str], term: str = "xterm-256color", *, owns_terminal: bool = False
) -> tuple[subprocess.Popen[bytes], int]:
    """The program on a pseudo-terminal of 120 × 40; the other end comes with it.

    A program that owns its terminal gets the kernel's SIGHUP when the other end is closed.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [*(OWNING if owns_terminal else TFSERVE), *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": term},
        start_new_session=True,
    )
    os.close(slave)
    return process, master


def read_until(master: int, sign: bytes) -> bytes:
    """What was written up to ``sign``, or to the end."""
    seen = b""
    while sign not in seen:
        select.select([master], [], [])
        try:
            seen += os.read(master, 65536)
        except OSError:  # the program closed its end
            break
    return seen


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return recordings.write_recording(tmp_path / "run.jsonl", recordings.recording(rounds=2))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_exits_143(number: signal.Signals, recording: Path) -> None:
    process, master = spawn(["--replay", str(recording), "--speed", "0"])
    seen = read_until(master, b"exports it")
    assert ENTER_SCREEN in seen
    process.send_signal(number)
    assert LEAVE_SCREEN in read_until(master, LEAVE_SCREEN)
    assert process.wait() == 143
    os.close(master)


@pytest.mark.parametrize("owns_terminal", [True, False], ids=["owned", "borrowed"])
@pytest.mark.parametrize("speed", ["0.5", "0"], ids=["drawing", "idle"])
def test_a_vanished_terminal_ends_the_program(speed: str, owns_terminal: bool, recording: Path) -> None:
    process, master = spawn(["--replay", str(recording), "--speed", speed], owns_terminal=owns_terminal)
    read_until(master, b"exports it" if speed == "0" else b"measuring")
    os.close(master)
    assert process.wait() == 143


def test_q_leaves_a_replay_with_exit_0(recording: Path) -> None:
    process, master = spawn(["--replay", str(recording), "--speed", "0"])
    read_until(master, b"exports it")
    os.write(master, b"q")
    assert LEAVE_SCREEN in read_until(master, LEAVE_SCREEN)
    assert process.wait() == 0
    os.close(master)


def test_a_dumb_terminal_is_refused_with_a_sentence() -> None:
    process, master = spawn([], term="dumb")
    said = read_until(master, b"without one.")
    assert process.wait() == 2
    os.close(master)
    assert b"TERM=dumb" in said
    assert b"tfserve-tui run PRESET" in said


def test_without_a_terminal_there_is_one_sentence_and_exit_2() -> None:
    done = subprocess.run(TFSERVE, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "needs a terminal" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--theme", "no-such-theme"], b"tfserve-dark"),
        (["--replay", "absent.jsonl"], b"absent.jsonl: cannot be read"),
        (["--config", "absent.toml"], b"absent.toml"),
    ],
)
def test_what_cannot_be_used_is_told_in_words_with_exit_2(arguments: list[str], words: bytes) -> None:
    process, master = spawn(arguments)
    said = read_until(master, b"never written")
    assert process.wait() == 2
    os.close(master)
    assert words in said
    assert b"Traceback" not in said


def test_the_command_line_does_not_load_the_ui() -> None:
    code = (
        "import sys; sys.argv = ['tfserve-tui', '--help']\n"
        "import tui.__main__ as program\n"
        "try: program.main()\n"
        "except SystemExit as left: code = left.code\n"
        "loaded = [name for name in ('textual', 'numpy', 'docker', 'tensorflow') if name in sys.modules]\n"
        "sys.exit(f'{code} {loaded}' if code or loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: tfserve-tui" in done.stdout


def test_a_fault_of_ours_is_one_line_and_a_trace_in_the_log(recording: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['tfserve-tui', '--replay', sys.argv[1], '--speed', '0']\n"
        "import tui.bridge, tui.__main__\n"
        "def broken(*_): raise RuntimeError('not meant')\n"
        "tui.bridge.advance = broken\n"
        "tui.__main__.main()"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(recording)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(slave)
    said = read_until(master, b"never written")
    assert process.wait() == 1
    os.close(master)
    assert b"internal fault (RuntimeError: not meant)" in b" ".join(said.split())
    assert b"Traceback" not in said
    assert "RuntimeError: not meant" in (tmp_path / "state" / "tfserve-tui.log").read_text()
