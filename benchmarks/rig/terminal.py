"""A pseudo-terminal of 120 × 40 with a program in it, whose screen is read as fast as it is written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

COLUMNS, ROWS = 120, 40


class Terminal:
    """The program's keys and what it has drawn."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._drawn = b""
        self._news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def press(self, key: str) -> None:
        """Send a key."""
        os.write(self._descriptor, key.encode())

    def wait_for(self, text: str, limit_s: float) -> None:
        """Return when ``text`` was drawn in one piece since the last wait. Ends the benchmark when it is not."""
        with self._news:
            if not self._news.wait_for(lambda: text.encode() in self._drawn, limit_s):
                raise SystemExit(f"the terminal UI did not show {text!r} within {limit_s:g} s")
            self._drawn = b""

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while read := os.read(self._descriptor, 1 << 16):
                with self._news:
                    self._drawn = self._drawn[-(1 << 20) :] + read
                    self._news.notify_all()


@contextlib.contextmanager
def terminal(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[Terminal]:
    """Run ``command`` in ``folder`` in a terminal; it is ended with the block."""
    keys, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, env=environment, cwd=folder, start_new_session=True
    )
    os.close(screen)
    shown = Terminal(keys)
    try:
        yield shown
    finally:
        process.terminate()
        process.wait(30)
        shown.reader.join(5)
        os.close(keys)
