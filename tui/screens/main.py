"""The one main screen: server cards, panes, footer. Holds the newest progress; keys become calls of the conductor."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.reactive import var
from textual.screen import Screen
from textual.widgets import ContentSwitcher
from textual.worker import Worker

from serving_ctl.bench.progress import Progress
from serving_ctl.config import Settings
from serving_ctl.errors import TfServeError
from serving_ctl.events import AnyEvent
from tui import keys
from tui.bridge import Bridge, play
from tui.conductor import SERVERS, Conductor, OpenEngine, open_engine
from tui.messages import BenchAdvanced
from tui.panes.bench import BenchPane
from tui.possible import Situation, obstacle
from tui.widgets.fairness_card import FairnessCard
from tui.widgets.key_line import KeyLine
from tui.widgets.server_card import ServerCard
from tui.widgets.tab_line import TabLine
from tui.widgets.title_line import TitleLine

NARROW, TALL = 100, 34
"""Columns below which the cards lie on top of the panes; rows from which on chart and details both have room."""

LOG_S = 1.0
FOCUS_OF = {"bench": "#ratio-table", "model": "#model-tree", "logs": "LogTail"}
"""What gets the keyboard when a pane comes into sight."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to play instead of driving servers."""

    path: Path
    events: tuple[AnyEvent, ...]
    speed: float = 1.0


class MainScreen(Screen[None]):
    """Cards at the left or on top, panes beside, keys below."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("main")]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-wide")]  # noqa: RUF012 - an instance variable in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = None

    progress: var[Progress] = var(Progress(), init=False)
    """The newest progress; panes and widgets are bound to it."""
    activity: var[str] = var("", init=False)
    cancelling: var[bool] = var(False, init=False)
    presets: var[tuple[Any, ...]] = var((), init=False)
    problem: var[str] = var("", init=False)
    pane: var[str] = var("bench", init=False)
    """Id of the pane in sight."""
    situation: var[Situation] = var(Situation(), init=False)
    """What the line of keys shows as possible."""
    note: var[str] = var("Looking for running servers …")

    def __init__(
        self,
        settings: Settings,
        *,
        replay: Replay | None = None,
        make_engine: OpenEngine = open_engine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(id="main")
        self.bridge = Bridge(lambda progress: self.post_message(BenchAdvanced(progress)))
        self.conductor = Conductor(
            settings,
            self.bridge.emit,
            spawn=self._spawn,
            say=self.say_error,
            changed=self.show_situation,
            make=make_engine,
        )
        self._settings, self._replay, self._clock = settings, replay, clock

    def compose(self) -> ComposeResult:
        """Title, cards and panes, footer."""
        main, live = MainScreen, self._replay is None
        title = TitleLine()
        title.set_reactive(TitleLine.model, self._settings.model.name if live else "")
        title.set_reactive(TitleLine.mode, f"replay of {self._replay.path.name}" if self._replay else "")
        yield title.data_bind(main.progress)
        with Horizontal(id="body"):
            with Vertical(id="side"):
                for server in SERVERS:
                    yield ServerCard(server, clock=self._clock, live=live).data_bind(main.progress)
                yield FairnessCard().data_bind(main.progress)
            with Vertical(id="right"):
                yield TabLine().data_bind(active=main.pane)
                with ContentSwitcher(id="panes", initial="bench"):
                    yield BenchPane().data_bind(
                        main.progress, main.activity, main.cancelling, main.presets, main.problem, main.note
                    )
                    yield Container(id="model")
                    yield Container(id="logs")
        yield KeyLine().data_bind(main.situation)

    async def on_bench_pane_completed(self) -> None:
        """After the first paint: mount the other panes, then open the engine or play the recording."""
        from tui.panes.logs import LogsPane
        from tui.panes.model import ModelPane

        await self.query_one("#model").mount(ModelPane())
        await self.query_one("#logs").mount(LogsPane())
        self.query_one("#ratio-table").focus()
        self._begin()

    def on_resize(self, event: events.Resize) -> None:
        """Cards and fairness card say less where there is less room."""
        narrow, short = event.size.width < NARROW, event.size.height < TALL
        for widget in self.query("ServerCard, FairnessCard"):
            widget.set_class(narrow, "-compact")
            widget.set_class(narrow and short, "-line")

    def on_bench_advanced(self, message: BenchAdvanced) -> None:
        """Show the newest progress."""
        was = self._what_matters(self.progress)
        self.progress = message.progress
        if self._what_matters(message.progress) != was:
            self.show_situation()

    def look(self) -> Situation:
        """What decides which keys do something now."""
        conductor = self.conductor
        return Situation(
            is_replay=self._replay is not None,
            is_open=conductor.engine is not None,
            is_running=conductor.is_running,
            is_moving=bool(conductor.moving),
            has_run=self.progress.run is not None,
            preset_keys=frozenset(preset.key for preset in conductor.presets),
            problem=conductor.problem,
        )

    def show_situation(self) -> None:
        """Bring footer and pane up to what can be done now."""
        conductor = self.conductor
        self.presets, self.problem, self.activity = conductor.presets, conductor.problem, conductor.activity
        if conductor.engine is not None:
            self.note = ""
        if not conductor.is_running:
            self.cancelling = False
        self.situation = self.look()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what is not possible now; hide number keys without a preset."""
        argument = str(parameters[0]) if parameters else ""
        if action == "run_preset" and argument not in {preset.key for preset in self.conductor.presets}:
            return False
        return None if obstacle(self.look(), action, argument) else True

    def on_key(self, event: events.Key) -> None:
        """A key that does nothing now says why."""
        key = event.character if event.character and event.character in keys.PRESET_KEYS else event.key
        for entry in keys.KEYS:
            if entry.place == "main" and key in entry.keys.split(","):
                sentence = obstacle(self.look(), entry.action.partition("(")[0], key)
                if sentence:
                    self.notify(sentence, severity="warning", markup=False)

    def say_error(self, error: TfServeError) -> None:
        """Show an error that is meant for people."""
        self.notify(str(error), title="Not done", severity="error", timeout=15, markup=False)

    def action_run_preset(self, key: str) -> None:
        """Run the preset of that key."""
        name = next(preset.name for preset in self.conductor.presets if preset.key == key)
        self.action_show_pane("bench")
        self.conductor.run(name)

    def action_toggle_servers(self) -> None:
        """Start, stop, or call off a start."""
        self.conductor.toggle(self.progress, self._meant_servers())

    def action_restart_servers(self) -> None:
        """Stop and start."""
        self.conductor.restart(self._meant_servers())

    def action_cancel_run(self) -> None:
        """Cancel at once; the cell in flight is given up."""
        self.cancelling = self.conductor.is_running
        self.conductor.cancel()

    def action_interrupt(self) -> None:
        """Ctrl-C: copy a selection, else cancel, else quit."""
        if self.get_selected_text():
            self.action_copy_text()
        elif self.look().is_running or self.look().is_moving:
            self.action_cancel_run()
        else:
            self.action_quit()

    def action_step_table(self, by: int) -> None:
        """Another table of the run."""
        from tui.panes.run_view import RunView

        self.query_one(RunView).step_table(by)

    def action_show_pane(self, pane: str) -> None:
        """Another pane."""
        self.pane = pane

    def action_help(self) -> None:
        """All keys."""
        from tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen())

    def action_export(self) -> None:
        """Ask where to and write."""
        from tui.screens.export import ExportScreen, default_path

        record = self.progress.run
        if record is None:
            return

        async def write(path: Path) -> None:
            module = await asyncio.to_thread(importlib.import_module, "serving_ctl.engine")
            module.export_record(record, path)

        self.app.push_screen(ExportScreen(default_path(record), write), self._say_written)

    def action_quit(self) -> None:
        """Leave; ask about servers that were started here."""
        from tui.screens.confirm import Answer, ConfirmScreen

        started = self.conductor.started_here()
        if not started:
            self._spawn(self._leave(stop_servers=False), "quit")
            return
        names = " and ".join(started)
        run = " A run is on and will be cancelled; its finished cells are kept." if self.conductor.is_running else ""
        question = f"Started here and still up: {names}.{run} What becomes of them?"
        answers = (Answer("s", "Stop them", "stop"), Answer("l", "Leave running", "leave"), Answer("n", "Stay", "stay"))
        self.app.push_screen(ConfirmScreen(question, answers), self._quit_answered)

    def action_update_model(self) -> None:
        """Ask the servers what they serve."""
        self._spawn(self._update_model(), "model")

    def on_tab_line_chosen(self, message: TabLine.Chosen) -> None:
        """The mouse chose a pane."""
        self.pane = message.pane

    def watch_pane(self, pane: str) -> None:
        """Show the pane and give it the keyboard; Model and Logs pane ask when they are opened."""
        self.query_one("#panes", ContentSwitcher).current = pane
        self.query_one(FOCUS_OF[pane]).focus()
        if obstacle(self.look(), "update_model"):
            return
        if pane == "model":
            self.action_update_model()
        elif pane == "logs":
            self._spawn(self._follow_logs(), "logs")

    def _begin(self) -> None:
        if self._replay is None:
            self._spawn(self.conductor.open(), "engine")
        else:
            self.note = "Playing the recording …"
            self._spawn(play(self._replay.events, self.bridge.emit, self._replay.speed), "replay")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> Worker[None]:
        """A worker; one of the same name that still runs is cancelled."""
        return self.run_worker(work, name=name, group=name, exclusive=True)

    def _meant_servers(self) -> tuple[str, ...]:
        card = self.focused
        return (card.server,) if isinstance(card, ServerCard) else SERVERS

    def _what_matters(self, progress: Progress) -> tuple[object, ...]:
        states = tuple((name, changed.state) for name, changed in progress.servers.items())
        return (states, progress.run is not None, progress.is_running)

    def _say_written(self, path: Path | None) -> None:
        if path is not None:
            self.notify(str(path), title="Written", markup=False)

    def _quit_answered(self, answer: str | None) -> None:
        if answer in {"stop", "leave"}:
            self.notify("Stopping the servers …" if answer == "stop" else "Leaving …", markup=False)
            self._spawn(self._leave(stop_servers=answer == "stop"), "quit")

    async def _leave(self, *, stop_servers: bool) -> None:
        try:
            await self.conductor.close(stop_servers=stop_servers)
        except (TfServeError, TimeoutError) as error:
            self.notify(str(error) or "The servers did not stop in time.", severity="error", markup=False)
            return
        self.app.exit(return_code=0)

    async def _update_model(self) -> None:
        from tui.inquiry import ask_model, not_disturbed
        from tui.panes.model import ModelPane

        engine, pane = self.conductor.engine, self.query_one(ModelPane)
        if engine is None or (self.conductor.is_running and pane.has_answers):
            return
        asked = [] if self.conductor.is_running else [await ask_model(engine, s, self.progress) for s in SERVERS]
        pane.show_served(asked or [not_disturbed(server) for server in SERVERS])

    async def _follow_logs(self) -> None:
        """Read the servers' logs once a second while their pane is open."""
        from tui.inquiry import newest_lines
        from tui.panes.logs import LogsPane

        while self.conductor.engine is not None and self.pane == "logs":
            for server in SERVERS:
                self.query_one(LogsPane).show_lines(server, await newest_lines(self.conductor.engine, server))
            await asyncio.sleep(LOG_S)
