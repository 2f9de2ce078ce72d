"""The Textual application: themes, palette, signals. What is on the screen is in ``screens/``."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial

from rich.text import Text
from textual.app import App, SystemCommand
from textual.driver import Driver
from textual.screen import Screen
from textual.worker import WorkerFailed

from serving_ctl.config import Settings, state_dir
from serving_ctl.errors import Exit
from tui import keys
from tui.conductor import OpenEngine, open_engine
from tui.drawing import meet
from tui.possible import obstacle
from tui.replay import Replay
from tui.screens.main import MainScreen
from tui.theme import THEMES, check_theme, default_variables


class TfServeApp(App[None]):
    """tfserve-tui in a terminal. Raises ConfigError for an unknown theme."""

    TITLE = "tfserve-tui"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        settings: Settings,
        *,
        theme: str | None = None,
        replay: Replay | None = None,
        make_engine: OpenEngine = open_engine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        for own in THEMES:
            self.register_theme(own)
        wanted = theme or settings.ui.theme
        check_theme(wanted, self.available_themes)
        keys.choose(settings.ui.keys)
        meet(settings.servers)
        self.set_keymap(settings.ui.keys)
        self.theme = wanted
        self._main = MainScreen(settings, replay=replay, make_engine=make_engine, clock=clock)

    def get_driver_class(self) -> type[Driver]:
        """A terminal's driver is our own; a browser's is Textual's."""
        from textual.drivers.linux_driver import LinuxDriver

        from tui.terminal import TerminalDriver

        chosen = super().get_driver_class()
        return TerminalDriver if chosen is LinuxDriver else chosen

    def get_default_screen(self) -> Screen[None]:
        """The one main screen."""
        return self._main

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our variables under themes that do not know them."""
        return default_variables(self.current_theme.dark)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Only what is possible now: presets, keys, themes."""
        if not isinstance(screen, MainScreen):
            return
        now = screen.look()
        if not obstacle(now, "run_preset", min(now.preset_keys, default="")):
            for preset in self._main.conductor.presets:
                key = f"key {preset.key} · " if preset.key else ""
                yield SystemCommand(f"Run {preset.name}", key + preset.title, partial(screen.run_named, preset.name))
        for entry in keys.commands():
            if not obstacle(now, entry.verb, entry.argument):
                yield SystemCommand(*keys.command(entry), partial(self._run_on_main, entry.action))
        yield SystemCommand("Theme", "Other colours", self.action_change_theme)

    def on_mount(self) -> None:
        """Answer `kill` and a closed terminal; a test's headless app leaves the signals of its process alone."""
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self._terminate)

    async def action_quit(self) -> None:
        """Quit from anywhere: the main screen asks what there is to ask."""
        self._main.action_quit()

    def _fatal_error(self) -> None:
        """A fault of ours: one line on the terminal, the trace in the log file."""
        error = self._exception.error if isinstance(self._exception, WorkerFailed) else self._exception
        path = state_dir() / "tfserve-tui.log"
        logging.basicConfig(filename=path, format="%(asctime)s %(message)s")
        logging.getLogger(__name__).error("fault", exc_info=error)
        words = f"tfserve-tui: internal fault ({type(error).__name__}: {error}); the trace is in {path}."
        self.panic(Text(words))

    def _run_on_main(self, action: str) -> None:
        self.run_worker(self._main.run_action(action))

    def _terminate(self) -> None:
        self.run_worker(self._end(), name="terminate")

    async def _end(self) -> None:
        """Cancel the run (its recording is closed), stop what was started here, give the terminal back."""
        try:
            await self._main.conductor.close(stop_servers=True)
        finally:
            self.exit(return_code=Exit.TERMINATED)
