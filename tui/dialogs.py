"""The dialogs over the main screen: what each is given, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.results.record import RunRecord
from tui import keys

if TYPE_CHECKING:
    from serving_ctl.engine import Engine
    from tui.screens.main import MainScreen

RUNS_WITH_OLD_FLAGS = " tf-serving runs with the flags of its start: {restart_servers} restarts it with these."


class Dialogs:
    """Opens dialogs over ``screen``; their modules are imported when they are first asked for."""

    def __init__(self, screen: MainScreen) -> None:
        self._screen = screen

    def open(self, name: str) -> None:
        """The dialog that a key or the palette asks for by name."""
        openers: dict[str, Callable[[], None]] = {
            "export": self._export,
            "picture": self._picture,
            "preset": self._preset,
            "workers": self._workers,
            "containers": self._containers,
            "doctor": self.doctor,
            "flags": self._flags,
            "configs": self._configs,
        }
        openers[name]()

    def help(self) -> None:
        """All keys, those of the pane in sight first."""
        from tui.screens.help import HelpScreen

        self._screen.app.push_screen(HelpScreen(self._screen.pane))

    def doctor(self, error: ServerStartError | None = None) -> None:
        """The doctor's findings, under why a start failed; a panel that is open takes the sentence in."""
        from tui.screens.doctor import DoctorScreen

        sentence = str(error) if error else ""
        top = self._screen.app.screen
        if isinstance(top, DoctorScreen):
            top.add_sentence(sentence)
        elif self._engine is not None:
            self._screen.app.push_screen(DoctorScreen(self._engine.examine, sentence))

    def export_record(self, record: RunRecord) -> None:
        """Ask where to, and write a run."""
        from tui.screens.export import ExportScreen, default_path

        async def write(path: Path) -> None:
            module = await asyncio.to_thread(importlib.import_module, "serving_ctl.engine")
            await asyncio.to_thread(module.export_record, record, path)

        self._screen.app.push_screen(ExportScreen("export the run", default_path(record), write))

    def quit(self) -> None:
        """Ask about servers that would outlive us, then leave; without any: leave."""
        from tui.screens.confirm import ConfirmScreen
        from tui.screens.quit_question import quit_question

        conductor = self._screen.conductor
        started, adopted = conductor.started_here(), conductor.adopted(self._screen.progress)
        if not started and not adopted:
            self._screen.leave("leave")
            return
        question, answers = quit_question(started, adopted, is_running=conductor.is_running)
        self._screen.app.push_screen(ConfirmScreen(question, answers), self._screen.leave)

    @property
    def _engine(self) -> Engine | None:
        return self._screen.conductor.engine

    def _export(self) -> None:
        if self._screen.progress.run is not None:
            self.export_record(self._screen.progress.run)

    def _picture(self) -> None:
        """The screen as it is before the dialog covers it."""
        from tui.screens.export import ExportScreen, picture_path, write_text

        svg = self._screen.app.export_screenshot(title="tfserve-tui")

        async def write(path: Path) -> None:
            await asyncio.to_thread(write_text, path, svg, ".svg")

        self._screen.app.push_screen(ExportScreen("picture of the screen", picture_path(), write))

    def _preset(self) -> None:
        from tui.screens.preset_form import PresetForm

        if self._engine is not None:
            self._screen.app.push_screen(PresetForm(self._engine), self._preset_changed)

    def _preset_changed(self, name: str | None) -> None:
        """The list shows it; a form that was left with "run" runs it."""
        self._screen.conductor.look_again()
        self._screen.show_situation()
        if name:
            self._screen.run_named(name)

    def _workers(self) -> None:
        """The parts of the server whose card has the focus: tf-serving's tasks, else flask's workers."""
        from tui.screens.tasks import TasksScreen
        from tui.screens.workers import WorkersScreen

        if self._engine is not None:
            parts = TasksScreen if self._screen.look().card == TF_SERVING else WorkersScreen
            self._screen.app.push_screen(parts(self._engine))

    def _containers(self) -> None:
        from tui.screens.containers import ContainersScreen

        if self._engine is not None:
            self._screen.app.push_screen(ContainersScreen(self._engine))

    def _flags(self) -> None:
        from tui.screens.flags_form import FlagsForm

        if self._engine is not None:
            self._screen.app.push_screen(FlagsForm(self._engine), self._flags_changed)

    def _flags_changed(self, told: str | None) -> None:
        """Say it, and that a tf-serving that runs does not have them."""
        if told:
            is_up = TF_SERVING in self._screen.look().servers_up
            more = keys.say(RUNS_WITH_OLD_FLAGS) if is_up else ""
            self._screen.notify(told + more, title="Flags", timeout=10, markup=False)

    def _configs(self) -> None:
        from tui.screens.config_editor import ConfigEditor

        if self._engine is not None:
            self._screen.app.push_screen(ConfigEditor(self._engine))
