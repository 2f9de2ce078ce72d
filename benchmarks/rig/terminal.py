"""A pseudo-terminal of 120 × 40 with a program in it, whose screen is read and thrown away."""

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

COLUMNS, ROWS = 120, 40


@contextlib.contextmanager
def terminal(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
    """Run ``command`` in a terminal; the descriptor takes its keys. The program is ended with the block."""
    keys, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, env=environment, start_new_session=True
    )
    os.close(screen)
    reader = threading.Thread(target=_discard, args=(keys,), daemon=True)
    reader.start()
    try:
        yield keys
    finally:
        process.terminate()
        process.wait(30)
        reader.join(5)
        os.close(keys)


def _discard(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 1 << 16):
            continue
