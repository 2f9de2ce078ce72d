"""The Logs pane: the newest lines of both servers."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.conductor import SERVERS
from tui.widgets.log_tail import LogTail


class LogsPane(Vertical):
    """Both servers' logs, one above the other."""

    def compose(self) -> ComposeResult:
        """One tail a server."""
        for server in SERVERS:
            yield LogTail(server)

    def show_lines(self, server: str, lines: Sequence[str]) -> None:
        """Show the end of one server's log."""
        self.query_one(f"#log-{server}", LogTail).lines = tuple(lines)
