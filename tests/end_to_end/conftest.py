"""A user's machine in small: an own home, free ports, the command as a process, the terminal UI in tmux."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from free_ports import free_port

ROOT = Path(__file__).parents[2]
WAIT_S = 120.0


def until(fact: Callable[[], bool], what: Callable[[], str], limit_s: float = WAIT_S) -> None:
    """Wait for ``fact``; fails with ``what`` says when the limit is over."""
    deadline = time.monotonic() + limit_s
    while not fact():
        if time.monotonic() > deadline:
            pytest.fail(what())
        time.sleep(0.1)


class Home:
    """One user's folder with settings of its own; ``run`` is tfserve-tui as a command."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.environment = {
            **os.environ,
            "TFSERVE_STATE_DIR": str(folder / "state"),
            "TFSERVE_DATA_DIR": str(folder / "data"),
            "TFSERVE_CONFIG_DIR": str(folder / "config"),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }
        (folder / "configs").mkdir()
        (folder / "configs" / "tfserve.toml").write_text(
            f'[model]\npath = "{model}"\n[tf-serving]\nruntime = "embedded"\nport = {self.ports[0]}\n'
            f"[flask]\nport = {self.ports[1]}\nworkers = 2\n"
        )

    @property
    def command(self) -> list[str]:
        """tfserve-tui by the interpreter of the tests."""
        return [sys.executable, "-m", "tui"]

    def run(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """One command that goes on; its stderr is a pipe."""
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, fact: Callable[[], bool], problem: str) -> None:
        """Wait for ``fact``; fails with ``problem``."""
        until(fact, lambda: problem)

    def processes(self) -> list[psutil.Process]:
        """Every process that runs with this home's state folder; the terminal it ran in is none of them."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("TFSERVE_STATE_DIR") == self.environment["TFSERVE_STATE_DIR"]
                here = ours and "tmux" not in process.name()
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def server(self, module: str) -> psutil.Process:
        """The leading process of the server started with ``python -m MODULE``."""
        matching = [process for process in self.processes() if module in process.cmdline()]
        return min(matching, key=lambda process: process.create_time())


@pytest.fixture
def home(tmp_path: Path, trained) -> Iterator[Home]:
    """An empty home; whatever still runs at the end is ended, and named as a failure of ``down``."""
    home = Home(tmp_path, trained.folder.parent)
    yield home
    home.run("down")
    deadline = time.monotonic() + 20
    while home.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    left = home.processes()
    for process in left:
        process.kill()
    assert not left, f"left running after down: {left}"


class Screen:
    """tfserve-tui in a tmux pane of its own server."""

    def __init__(self, tmux: str, home: Home, socket_path: Path) -> None:
        self._tmux = [tmux, "-f", "/dev/null", "-S", str(socket_path)]
        self._home = home

    def open(self, *arguments: str, width: int = 120, height: int = 40) -> None:
        """Start the UI as a user would, in a terminal of that size."""
        size = ["-x", str(width), "-y", str(height)]
        command = ["new-session", "-d", *size, "-c", str(self._home.folder), *self._home.command, *arguments]
        subprocess.run([*self._tmux, *command], env=self._home.environment, check=True, timeout=30)
        # The pane stays when the UI ends, so that its last words can be read.
        subprocess.run([*self._tmux, "set-option", "-g", "remain-on-exit", "on"], check=True, timeout=30)

    def open_live(self) -> None:
        """Start the UI and wait until it knows that no server runs, so that keys do their work."""
        self.open()
        self.wait_for("batch-small", "STOPPED")

    def press(self, *keys: str) -> None:
        """Send keys, in tmux's names."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=30)

    def text(self) -> str:
        """What the terminal shows."""
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True, timeout=30
        )
        return shown.stdout

    def wait_for(self, *words: str, limit_s: float = WAIT_S) -> str:
        """The screen once it shows all ``words``."""
        until(lambda: all(word in self.text() for word in words), lambda: f"no {words} on:\n{self.text()}", limit_s)
        return self.text()

    def until(self, fact: Callable[[], bool], problem: str) -> None:
        """Wait for ``fact``; fails with ``problem`` and what the terminal shows."""
        until(fact, lambda: f"{problem}; the screen:\n{self.text()}")

    def wait_for_end(self) -> None:
        """Wait until the UI has ended."""
        dead = [*self._tmux, "display-message", "-p", "#{pane_dead}"]

        def ended() -> bool:
            shown = subprocess.run(dead, capture_output=True, text=True, check=False, timeout=30)
            return shown.stdout.strip() == "1" or shown.returncode != 0

        until(ended, lambda: f"still open:\n{self.text()}")

    def pid(self) -> int:
        """Process id of the UI."""
        shown = [*self._tmux, "display-message", "-p", "#{pane_pid}"]
        return int(subprocess.run(shown, capture_output=True, text=True, check=True, timeout=30).stdout)

    def close(self) -> None:
        """End the tmux server with all that runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=30)


@pytest.fixture
def screen(tmux: str, home: Home, tmp_path: Path) -> Iterator[Screen]:
    """A terminal of 120 × 40 with nothing in it yet."""
    screen = Screen(tmux, home, tmp_path / "tmux")
    yield screen
    screen.close()
