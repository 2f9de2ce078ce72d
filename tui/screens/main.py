"""The one main screen: server cards, panes, footer. Holds the newest progress; keys become calls of the conductor."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.reactive import var
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input, TextArea
from textual.worker import Worker

from serving_ctl import formatting
from serving_ctl.bench.progress import Progress
from serving_ctl.config import Settings
from serving_ctl.errors import ServerStartError, TfServeError
from serving_ctl.events import Event, LogLine, RunFailed
from tui import keys
from tui.bridge import Bridge, play
from tui.conductor import Conductor, OpenEngine, is_up, open_engine
from tui.dialogs import Dialogs
from tui.messages import BenchAdvanced, ExportWanted, RunOpened
from tui.panes.bench import BenchPane
from tui.panes.pane import Pane
from tui.possible import EARLY, NOT_OPEN, Situation, obstacle, what_matters
from tui.replay import Replay
from tui.widgets.drawn import Drawn
from tui.widgets.key_line import KeyLine
from tui.widgets.server_card import ServerCard
from tui.widgets.side import Side
from tui.widgets.tab_line import TabLine
from tui.widgets.title_line import TitleLine

LOOKING = "Looking for running servers …"
HISTORY = "history"
"""Whose log lines are the engine's words about the kept runs."""
NARROW, BROAD, TALL = 100, 170, 34
"""Columns below which the cards lie on top of the panes, and from which on two charts stand side by side; rows from
which on chart and details both have room."""


class MainScreen(Screen[None]):
    """Cards at the left or on top, panes beside, keys below."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("main")]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-wide"), (BROAD, "-broad")]  # noqa: RUF012 - an instance variable in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = ""

    progress: var[Progress] = var(Progress(), init=False)
    """The newest progress; panes and widgets are bound to it."""
    activity: var[str] = var("", init=False)
    cancelling: var[bool] = var(False, init=False)
    presets: var[tuple[Any, ...]] = var((), init=False)
    pane: var[str] = var("bench", init=False)
    """Id of the pane in sight."""
    step: var[str] = var("", init=False)
    paused: var[bool] = var(False, init=False)
    offer: var[str] = var("", init=False)
    """What Enter would do, in one sentence; empty when it does nothing."""
    situation: var[Situation] = var(Situation(), init=False)
    """What the line of keys and the first screen show as possible."""
    note: var[str] = var(LOOKING)
    """What goes on before the engine is there."""
    trouble: var[str] = var("", init=False)
    """Why the newest run or start came to nothing, until something else is done."""

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
            self._take,
            spawn=self.spawn,
            say=self.say_error,
            not_started=self._say_not_started,
            changed=self.show_situation,
            make=make_engine,
        )
        self.dialogs = Dialogs(self)
        self._early = ""  # the key that was pressed before the engine was there
        self._settings, self._replay, self._clock = settings, replay, clock

    def compose(self) -> ComposeResult:
        """Title, cards and panes, footer."""
        main, live = MainScreen, self._replay is None
        title = TitleLine()
        title.set_reactive(TitleLine.model, self._settings.model.name if live else "")
        title.set_reactive(TitleLine.mode, f"replay of {self._replay.path.name}" if self._replay else "")
        yield title.data_bind(main.progress)
        with Horizontal(id="body"):
            servers = self._replay.servers if self._replay else self.conductor.servers
            yield Side(servers, clock=self._clock, live=live).data_bind(main.progress)
            with Vertical(id="right"):
                yield TabLine().data_bind(active=main.pane)
                with ContentSwitcher(id="panes", initial="bench"):
                    with Container(id="bench"):
                        yield BenchPane(self.conductor).data_bind(
                            main.progress, main.activity, main.cancelling, main.step, main.paused, main.presets,
                            main.situation, main.note, main.offer, main.trouble,
                        )  # fmt: skip
                    for name in ("model", "try", "logs", "history"):
                        yield Container(id=name)
        yield KeyLine().data_bind(main.situation)

    async def on_bench_pane_completed(self) -> None:
        """After the first paint: mount the other panes, then open the engine or play the recording."""
        from tui.panes.history import HistoryPane
        from tui.panes.logs import LogsPane
        from tui.panes.model import ModelPane
        from tui.panes.try_it import TryItPane

        for place, pane in (("model", ModelPane), ("try", TryItPane), ("logs", LogsPane), ("history", HistoryPane)):
            await self.query_one(f"#{place}").mount(pane(self.conductor).data_bind(MainScreen.progress))
        self._begin()

    def on_resize(self, event: events.Resize) -> None:
        """The cards say less where there is less room."""
        narrow, short = event.size.width < NARROW, event.size.height < TALL
        self.query_one(Side).fit(event.size, is_narrow=narrow, is_short=short)
        self.situation = self.look()

    def on_descendant_focus(self) -> None:
        """With the focus on a card the keys for servers mean that one alone."""
        self.situation = self.look()

    def on_bench_advanced(self, message: BenchAdvanced) -> None:
        """Show the newest progress."""
        was = what_matters(self.progress)
        self.progress = message.progress
        if what_matters(message.progress) != was:
            self.show_situation()

    def on_run_opened(self, message: RunOpened) -> None:
        """Show a kept run, unless one is being measured."""
        if self.conductor.is_running:
            self.notify("A run is on; an earlier one can be opened when it has ended.", severity="warning")
            return
        self.trouble = ""
        self.bridge.show(message.record)
        self.action_show_pane("bench")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What was being done has ended: other things are possible."""
        if event.worker.is_finished:
            self.show_situation()

    def on_export_wanted(self, message: ExportWanted) -> None:
        """Export a kept run."""
        self.dialogs.export_record(message.record)

    def look(self) -> Situation:
        """What decides which keys do something now."""
        conductor = self.conductor
        return Situation(
            is_replay=self._replay is not None,
            is_open=conductor.is_open,
            is_early=bool(self._early),
            is_running=conductor.is_running,
            is_measuring=conductor.steering is not None,
            is_paused=conductor.is_paused,
            is_moving=bool(conductor.moving),
            has_run=self.progress.run is not None,
            servers_up=frozenset(server for server in self.progress.servers if is_up(self.progress, server)),
            preset_keys=frozenset(preset.key for preset in conductor.presets if preset.key),
            problem=conductor.problem,
            servers=conductor.servers,
            pane=self.pane,
            card=self.focused.server if isinstance(self.focused, ServerCard) else "",
            is_typing=isinstance(self.focused, Input | TextArea),
            is_short=self.size.height < TALL,
            can_export_model=conductor.can_export_model,
        )

    def show_situation(self) -> None:
        """Bring footer and pane up to what can be done now."""
        conductor = self.conductor
        self.presets, self.activity = conductor.presets, conductor.activity
        self.step, self.paused = conductor.step, conductor.is_paused
        self.situation = self.look()
        self.offer = conductor.offer(self.situation.servers_up) if self._may_offer() else ""
        if not conductor.is_running:
            self.cancelling = False
        if conductor.is_open:
            self.note = ""
            self._press_early()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what is not possible now; hide number keys without a preset."""
        argument = str(parameters[0]) if parameters else ""
        if action == "run_preset" and argument not in {preset.key for preset in self.conductor.presets}:
            return False
        return None if obstacle(self.look(), action, argument) else True

    def on_key(self, event: events.Key) -> None:
        """A key that does nothing now says why."""
        key = event.character if event.character and event.character in keys.PRESET_KEYS else event.key
        if key == "escape" and self._early:
            self._keep("")
        for entry in keys.table():
            if entry.place != "main" or key not in entry.keys.split(","):
                continue
            sentence = obstacle(self.look(), entry.verb, entry.argument or key)
            if sentence == NOT_OPEN and entry.verb in EARLY:
                self._keep(key)
            elif sentence and entry.verb != "first_step":
                self.notify(sentence, severity="warning", markup=False)

    def _keep(self, key: str) -> None:
        """Keep ``key`` for the moment when the engine is there; an empty one drops what was kept."""
        self._early = key
        self.note = f"{LOOKING} Key {key} was heard and is done then; Escape drops it." if key else LOOKING
        self.situation = self.look()

    def _press_early(self) -> None:
        """Do what was asked for before the engine was there."""
        key, self._early = self._early, ""
        if key:
            self.app.simulate_key(key)

    def say_error(self, error: TfServeError) -> None:
        """Show an error that is meant for people; it stays on the Bench pane, unless the run's own line says it."""
        run = self.progress.run
        if run is None or not isinstance(run.end, RunFailed) or run.end.reason not in str(error):
            self.trouble = str(error)
        self.notify(str(error), title="Not done", severity="error", timeout=15, markup=False)

    def _take(self, event: Event) -> None:
        """An event of the engine; what the history has to say is no server's log."""
        if isinstance(event, LogLine) and event.server == HISTORY:
            self.notify(event.text, title="History", severity="warning", timeout=15, markup=False)
        else:
            self.bridge.emit(event)

    def _say_not_started(self, error: ServerStartError) -> None:
        self.say_error(error)
        self.dialogs.doctor(error)

    def run_named(self, preset: str) -> None:
        """Run a preset by name, in sight."""
        self.action_show_pane("bench")
        self.conductor.run(preset)

    def leave(self, answer: str | None) -> None:
        """Leave as the question was answered: ``stop``, ``all``, ``leave``; anything else stays."""
        if answer not in {"stop", "all", "leave"}:
            return
        also = self.conductor.adopted(self.progress) if answer == "all" else ()
        if self.conductor.started_here() or also:
            self.notify("Leaving …" if answer == "leave" else "Stopping the servers …", markup=False)
        self.spawn(self._leave(stop_servers=answer != "leave", also=also), "quit")

    def action_run_preset(self, key: str) -> None:
        """Run the preset of that key."""
        self.run_named(next(preset.name for preset in self.conductor.presets if preset.key == key))

    def action_first_step(self) -> None:
        """Do what the first screen offers."""
        self.action_show_pane("bench")
        self.conductor.first_step()

    def action_toggle_servers(self) -> None:
        """Start, stop, or call off a start."""
        self.conductor.toggle(self.progress, self._meant_servers())

    def action_restart_servers(self) -> None:
        """Stop and start."""
        self.conductor.restart(self._meant_servers())

    def action_hard_stop(self) -> None:
        """Stop at once."""
        self.conductor.hard_stop(self.progress, self._meant_servers())

    def action_pause(self) -> None:
        """Pause the run, or go on."""
        self.conductor.pause()

    def action_skip_cell(self) -> None:
        """Be done with the cell being measured."""
        if self.conductor.steering is not None:
            self.conductor.steering.skip_cell()
            self.notify("Cell skipped; what it has measured is kept.", markup=False)

    def action_change_clients(self, change: int) -> None:
        """One client more or fewer."""
        if self.conductor.steering is not None:
            self.conductor.steering.change_clients(change)
            self.notify(f"Clients of this cell: {self.conductor.steering.clients}.", markup=False)

    def action_cancel_run(self) -> None:
        """Cancel at once; the cell in flight is given up."""
        if self._early:
            self._keep("")
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
        self.query_one(BenchPane).step_table(by)

    def action_show_pane(self, pane: str) -> None:
        """Another pane."""
        self.pane = pane

    def action_maximise(self) -> None:
        """The pane takes the whole screen, or gives it back."""
        self.toggle_class("-maximised")

    def action_next_view(self) -> None:
        """Another view of the pane in sight."""
        self._pane_in_sight.next_view()

    def action_update(self) -> None:
        """Ask again what the pane in sight shows."""
        self._pane_in_sight.update_now()

    def action_copy(self) -> None:
        """Copy what the pane in sight shows."""
        text = self._pane_in_sight.text_to_copy()
        if text:
            self.app.copy_to_clipboard(text)
            self.notify(f"{formatting.plural(len(text.splitlines()), 'line')} copied.", markup=False)
        else:
            self.notify("Nothing to copy here yet.", severity="warning", markup=False)

    def action_open(self, dialog: str) -> None:
        """A dialog."""
        self.dialogs.open(dialog)

    def action_help(self) -> None:
        """All keys."""
        self.dialogs.help()

    def action_quit(self) -> None:
        """Leave; ask about servers that still run."""
        self.dialogs.quit()

    def on_tab_line_chosen(self, message: TabLine.Chosen) -> None:
        """The mouse chose a pane."""
        self.pane = message.pane

    def watch_pane(self, pane: str) -> None:
        """Show the pane and give it the keyboard."""
        self.query_one("#panes", ContentSwitcher).current = pane
        self.situation = self.look()
        for widget in self._pane_in_sight.query(Drawn):
            widget.shown_again()
        self._pane_in_sight.opened()

    def _begin(self) -> None:
        if self._replay is None:
            self.spawn(self.conductor.open(), "engine")
        else:
            self.note = "Playing the recording …"
            self.spawn(play(self._replay.events, self.bridge.emit, self._replay.speed), "replay")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> Worker[None]:
        """A worker; one of the same name that still runs is cancelled. What went wrong before is no longer shown."""
        self.trouble = ""
        return self.run_worker(work, name=name, group=name, exclusive=True)

    @property
    def _pane_in_sight(self) -> Pane:
        return next(iter(self.query_one(f"#{self.pane}").query(Pane)), self.query_one(BenchPane))

    def _may_offer(self) -> bool:
        return self._replay is None and not obstacle(self.look(), "first_step") and bool(self.conductor.presets)

    def _meant_servers(self) -> tuple[str, ...]:
        card = self.focused
        return (card.server,) if isinstance(card, ServerCard) else self.conductor.servers

    async def _leave(self, *, stop_servers: bool, also: Sequence[str]) -> None:
        try:
            await self.conductor.close(stop_servers=stop_servers, also=also)
        except (TfServeError, TimeoutError) as error:
            self.notify(str(error) or "The servers did not stop in time.", severity="error", markup=False)
            return
        self.app.exit(return_code=0)
