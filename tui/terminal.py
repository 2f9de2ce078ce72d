"""Textual's driver for a terminal that can vanish: a closed window, a lost connection, `tmux kill-server`.

Textual's own waits for ever when its writer's queue is full, and reads the end of the file again and again. Here what
is written to a dead terminal is dropped, and the process gets the SIGHUP that the kernel sends to a terminal's owner
alone. What SIGHUP does is the app's to say.
"""

from __future__ import annotations

import contextlib
import select
import signal
import threading
from typing import IO, TYPE_CHECKING, Any, cast

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App

LOOK_MS = 500


class LossyFile:
    """A terminal's file; what cannot be written any more is dropped, so that the writer goes on to the end."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write, or drop."""
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Flush, or drop."""
        with contextlib.suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        """The terminal's descriptor."""
        return self._file.fileno()


class TerminalDriver(LinuxDriver):
    """Input and output of a terminal, and the end of both."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file: Any = LossyFile(cast("IO[str]", self._file))
        self._closed = threading.Event()

    def start_application_mode(self) -> None:
        """Take the terminal, and watch whether it is still there."""
        super().start_application_mode()  # type: ignore[no-untyped-call]
        threading.Thread(target=self._watch, name="tfserve-hangup", daemon=True).start()

    def close(self) -> None:
        """Let go of it."""
        self._closed.set()
        super().close()

    def _watch(self) -> None:
        """Wait without cost until the terminal hangs up; then end the reading and tell the process."""
        terminal = select.poll()
        terminal.register(self.fileno, 0)  # hang-up and error are always told
        while not self._closed.is_set():
            if terminal.poll(LOOK_MS):
                self.exit_event.set()
                signal.raise_signal(signal.SIGHUP)
                return
