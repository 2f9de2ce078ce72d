"""The Logs pane: what both servers write, with one filter for both and the doctor's sentence on top."""

from __future__ import annotations

import asyncio

from textual.app import ComposeResult
from textual.widgets import Input

from serving_ctl.bench.progress import Progress
from serving_ctl.errors import TfServeError
from serving_ctl.events import ServerState
from tui.conductor import SERVERS, Conductor
from tui.inquiry import newest_lines
from tui.log_lines import INFO, SEVERITIES
from tui.panes.pane import Pane
from tui.widgets.log_tail import LogTail, severity_name
from tui.widgets.note import Note

BATCH_S = 0.2
"""Lines are shown a batch at a time, however fast they come."""
ILL = {ServerState.FAILED, ServerState.DEGRADED}


class LogsPane(Pane):
    """Both servers' logs, one above the other."""

    DEFAULT_CSS = """
    LogsPane {
        #logs-filter { display: none; border: round $accent; height: 3; }
        &.-filtering #logs-filter { display: block; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._needle, self._least = "", INFO
        self._follows = False
        self._alive = {server: asyncio.Event() for server in SERVERS}
        """Set while a server may write."""
        self._waiting: dict[str, list[str]] = {server: [] for server in SERVERS}

    def compose(self) -> ComposeResult:
        """The doctor's sentence, the filter, one tail a server."""
        yield Note(id="logs-doctor")
        yield Input(placeholder="show lines that hold …; Enter keeps it, empty shows all", id="logs-filter")
        for server in SERVERS:
            yield LogTail(server)

    def on_mount(self) -> None:
        """Lines are shown a batch at a time."""
        self.set_interval(BATCH_S, self._show_waiting)

    def opened(self) -> None:
        """Take the keyboard, and from the first time on follow both servers."""
        self.query_one(LogTail).focus()
        if self.conductor.engine is not None and not self._follows:
            self._follows = True
            for server in SERVERS:
                self.run_worker(self._follow(server), group="logs", name=f"logs {server}")

    def next_view(self) -> None:
        """All lines, warnings and errors, errors."""
        self._least = (self._least + 1) % len(SEVERITIES)
        self._choose()
        self.notify(f"Showing {severity_name(self._least)}.", markup=False)

    def text_to_copy(self) -> str:
        """The passing lines of the log in focus, else of the first."""
        tails = list(self.query(LogTail))
        return next((tail for tail in tails if tail.has_focus), tails[0]).text_to_copy()

    def watch_progress(self, progress: Progress) -> None:
        """The doctor's sentence of each server that is not well; and whose log there is to follow."""
        for server, alive in self._alive.items():
            if is_alive(progress, server):
                alive.set()
        ill = [changed for changed in progress.servers.values() if changed.state in ILL and changed.detail]
        self.query_one("#logs-doctor", Note).say(*(f"{one.server} {one.state}: {one.detail}" for one in ill))

    def on_log_tail_filter_wanted(self) -> None:
        """Ask for a text."""
        self.add_class("-filtering")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        event.stop()
        self._needle = event.value.strip()
        self._choose()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and give the keyboard back."""
        event.stop()
        self.set_class(bool(self._needle), "-filtering")
        self.query_one(LogTail).focus()

    def _choose(self) -> None:
        for tail in self.query(LogTail):
            tail.choose(self._needle, self._least)

    async def _follow(self, server: str) -> None:
        """The log so far, then what is written; again whenever the server is started anew."""
        engine = self.conductor.engine
        while engine is not None:
            self._waiting[server] += await newest_lines(engine, server)
            try:
                async for event in engine.follow_log(server):
                    self._waiting[server].append(event.text)
            except TfServeError as error:
                self._waiting[server].append(str(error))
            self._alive[server].clear()
            await self._alive[server].wait()

    def _show_waiting(self) -> None:
        """Show what came since the last time, in one go."""
        for server, lines in self._waiting.items():
            if lines:
                self.query_one(f"#log-{server}", LogTail).add(lines)
                self._waiting[server] = []


def is_alive(progress: Progress, server: str) -> bool:
    """True while ``server`` may write."""
    changed = progress.servers.get(server)
    return changed is not None and changed.state not in {ServerState.STOPPED, ServerState.FAILED}
