"""Textual's driver for an app that is drawn by a browser: its terminal is a pair of pipes to the web server.

The end of its input, because the page was left or because the web server is gone, is what a closed window is to a
terminal's app: SIGHUP. Textual's own driver would go on for ever without anybody who sees it.
"""

from __future__ import annotations

import contextlib
import os
import signal

from textual.app import App
from textual.drivers.web_driver import WebDriver


class BrowserDriver(WebDriver):
    """Input and output of a page, and the end of both."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._write = self._write_or_drop  # type: ignore[assignment]

    def run_input_thread(self) -> None:
        """Read until the app ends, or until nobody is there any more."""
        super().run_input_thread()
        if not self.exit_event.is_set():
            self.exit_event.set()
            signal.raise_signal(signal.SIGHUP)

    def _write_or_drop(self, data: bytes) -> int:
        """Write; what nobody reads any more is dropped, so that the app goes on to its end."""
        with contextlib.suppress(BrokenPipeError):
            return os.write(self.fileno, data)
        return len(data)
