"""The Logs pane: what the servers write, with one filter for all and the doctor's sentence on top."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from serving_ctl.bench.progress import Progress
from serving_ctl.errors import TfServeError
from serving_ctl.events import ServerState
from tui import keys
from tui.conductor import Conductor
from tui.drawing import server_role
from tui.inquiry import newest_lines
from tui.log_lines import INFO, SEVERITIES
from tui.panes.pane import Pane
from tui.widgets.log_tail import LogTail, severity_name

BATCH_S = 0.2
"""Lines are shown a batch at a time, however fast they come."""
ILL = {ServerState.FAILED, ServerState.DEGRADED}


def filter_text(needle: str, least: int) -> str:
    """Which lines are left out and which key shows all; empty when none is."""
    parts = [severity_name(least)] if least > INFO else []
    parts += [f"lines that hold “{needle}”"] if needle else []
    if not parts:
        return ""
    return f"▽ Only {', and of them '.join(parts)}." + keys.say(
        " {logs_show_all} shows all, {next_view} other severities."
    )


class LogsPane(Pane):
    """All servers' logs, one above the other."""

    BINDINGS: ClassVar[list[BindingType]] = [one for one in keys.bindings("logs") if one.action == "filter"]
    DEFAULT_CSS = """
    LogsPane {
        #logs-filter { display: none; border: round $accent; height: 3; }
        &.-filtering #logs-filter { display: block; }
        #logs-doctor, #logs-shown { height: auto; display: none; }
        &.-ill #logs-doctor { display: block; color: $worse; }
        &.-chosen #logs-shown { display: block; color: $warn; }
        #logs-tails { height: 1fr; }
        LogTail { min-height: 6; border-subtitle-color: $quiet; border-title-color: $foreground; }
        LogTail.-tf-serving { border-title-color: $server-tf-serving; }
        LogTail.-flask { border-title-color: $server-flask; }
        LogTail.-server-3 { border-title-color: $server-3; }
        LogTail.-server-4 { border-title-color: $server-4; }
        LogTail.-server-5 { border-title-color: $server-5; }
        LogTail.-server-6 { border-title-color: $server-6; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._needle, self._least = "", INFO
        self._alive: dict[str, asyncio.Event] = {}
        """Of the servers that are followed; set while a server may write."""
        self._waiting: defaultdict[str, list[str]] = defaultdict(list)

    def compose(self) -> ComposeResult:
        """The doctor's sentence, the filter, one tail a server."""
        yield Static(id="logs-doctor", markup=False)
        yield Static(id="logs-shown", markup=False)
        yield Input(placeholder="show lines that hold …; Enter keeps it, Escape shows all", id="logs-filter")
        with VerticalScroll(id="logs-tails", can_focus=False):
            for server in self.conductor.servers:
                tail = LogTail(server)
                tail.add_class(f"-{server_role(server)}")
                tail.styles.height = f"{100 / len(self.conductor.servers)}%"
                yield tail

    def on_mount(self) -> None:
        """Lines are shown a batch at a time."""
        self.set_interval(BATCH_S, self._show_waiting)

    def opened(self) -> None:
        """Take the keyboard, and from the first time on follow the servers."""
        self.query_one(LogTail).focus()
        self._follow_all()

    def _follow_all(self) -> None:
        if self.conductor.engine is None:
            return
        for server in self.conductor.servers:
            if server not in self._alive:
                self._alive[server] = asyncio.Event()
                self.run_worker(self._follow(server), group="logs", name=f"logs {server}")

    def next_view(self) -> None:
        """All lines, warnings and errors, errors."""
        self._choose(self._needle, (self._least + 1) % len(SEVERITIES))

    def text_to_copy(self) -> str:
        """The passing lines of the log in focus, else of the first."""
        tails = list(self.query(LogTail))
        return next((tail for tail in tails if tail.has_focus), tails[0]).text_to_copy()

    def watch_progress(self, progress: Progress) -> None:
        """The doctor's sentence of each server that is not well; and whose log there is to follow."""
        if self.in_sight:
            self._follow_all()
        for server, alive in self._alive.items():
            if is_alive(progress, server):
                alive.set()
        ill = [changed for changed in progress.servers.values() if changed.state in ILL and changed.detail]
        self.set_class(bool(ill), "-ill")
        said = "\n".join(f"✗ {one.server} {one.state}: {one.detail}" for one in ill)
        self.query_one("#logs-doctor", Static).update(said)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In the text itself the filter's key is a letter."""
        del parameters
        return action != "filter" or not isinstance(self.screen.focused, Input)

    def action_filter(self) -> None:
        """Ask for a text; the focus moves at once, so that the next key is its first letter."""
        self.add_class("-filtering")
        self.screen.set_focus(self.query_one(Input))

    def on_log_tail_all_wanted(self) -> None:
        """Leave out nothing any more."""
        self.query_one(Input).value = ""
        self.remove_class("-filtering")
        self._choose("", INFO)

    def on_key(self, event: events.Key) -> None:
        """Escape in the text gives up the filter."""
        if event.key == "escape" and isinstance(self.screen.focused, Input):
            event.stop()
            self.on_log_tail_all_wanted()
            self.query_one(LogTail).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        event.stop()
        self._choose(event.value.strip(), self._least)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and give the keyboard back."""
        event.stop()
        self.remove_class("-filtering")
        self.query_one(LogTail).focus()

    def _choose(self, needle: str, least: int) -> None:
        if (needle, least) == (self._needle, self._least):
            return
        self._needle, self._least = needle, least
        said = filter_text(needle, least)
        self.set_class(bool(said), "-chosen")
        self.query_one("#logs-shown", Static).update(said)
        for tail in self.query(LogTail):
            tail.choose(needle, least)

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
        for tail in self.query(LogTail):
            if lines := self._waiting.pop(tail.server, []):
                tail.add(lines)


def is_alive(progress: Progress, server: str) -> bool:
    """True while ``server`` may write."""
    changed = progress.servers.get(server)
    return changed is not None and changed.state not in {ServerState.STOPPED, ServerState.FAILED}
