"""How the UI's tests open the app, wait for facts and read the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import scripted
from textual.pilot import Pilot

from serving_ctl.bench.progress import Progress, advance
from serving_ctl.config import EndpointSettings, Settings, UiSettings
from serving_ctl.events import Event
from tui import keys as keys_table
from tui.app import TfServeApp
from tui.replay import Replay
from tui.screens.main import MainScreen

WIDE, NARROW, LARGE = (120, 40), (80, 24), (200, 60)
LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, data, current folder and keys of a test are its own."""
    keys_table.choose({})
    monkeypatch.setenv("TFSERVE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TFSERVE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TFSERVE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def replay_app(events: list[Event], *, speed: float = 0.0, theme: str | None = None) -> TfServeApp:
    """The app over a recording."""
    replay = Replay(path=Path("recording.jsonl"), events=tuple(events), speed=speed)
    return TfServeApp(Settings(), replay=replay, theme=theme)


class Live:
    """The app over a scripted engine."""

    def __init__(
        self,
        *,
        problem: str | None = None,
        broken: frozenset[str] = frozenset(),
        keys: dict[str, str] | None = None,
        endpoints: tuple[EndpointSettings, ...] = (),
    ) -> None:
        self.engine: scripted.ScriptedEngine

        def make(settings: Settings, emit: Callable[[Event], None]) -> Any:
            self.engine = scripted.ScriptedEngine(settings, emit)
            self.engine.problem, self.engine.broken = problem, set(broken)
            return self.engine

        settings = Settings(ui=UiSettings(keys=keys or {}), endpoints=endpoints)
        self.app = TfServeApp(settings, make_engine=make, clock=lambda: 1075.0)

    @property
    def screen(self) -> MainScreen:
        return main_of(self.app)


def main_of(app: TfServeApp) -> MainScreen:
    """The main screen, also under a dialog."""
    screen = app.screen_stack[0]
    assert isinstance(screen, MainScreen)
    return screen


async def until(pilot: Pilot[Any], fact: Callable[[], object]) -> None:
    """Wait for a fact."""
    async with asyncio.timeout(LIMIT_S):
        while not fact():
            await pilot.pause(0.01)
    await pilot.pause()


async def played(pilot: Pilot[Any], events: list[Event]) -> None:
    """Wait until the screen shows all of the recording."""
    expected = reduce(advance, events, Progress())
    app = pilot.app
    assert isinstance(app, TfServeApp)
    await until(pilot, lambda: app.screen_stack and main_of(app).progress == expected)


def shown(app: TfServeApp) -> str:
    """The screen as text, a line a row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def drive(app: TfServeApp, size: tuple[int, int], story: Callable[[Pilot[Any]], Awaitable[None]]) -> None:
    """Run ``story`` against the app at ``size``."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await story(pilot)

    asyncio.run(run())
