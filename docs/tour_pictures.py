"""Makes the pictures of docs/tour.md: a real first day with tfserve-tui, in a folder of its own, with real servers.

Run by docs/screenshots.py. Takes about two minutes: it trains the model, starts both servers and measures twice.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, chdir
from functools import partial
from pathlib import Path

from textual.pilot import Pilot

from serving_ctl.config import load_settings
from tui.app import TfServeApp
from tui.conductor import open_engine
from tui.screens.main import MainScreen

SIZE = (120, 40)
LIMIT_S = 300.0
SETTINGS = '[tf-serving]\nruntime = "embedded"\nport = {}\n[flask]\nport = {}\nworkers = 2\n'


class Tour:
    """The app on its way through the tour; ``picture`` keeps what is on the screen."""

    def __init__(self, app: TfServeApp, pilot: Pilot[None], folder: Path) -> None:
        self._app, self._pilot, self._folder = app, pilot, folder

    def text(self) -> str:
        """The screen as text, a line a row."""
        strips = self._app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def see(self, *words: str) -> None:
        """Wait until the screen shows all ``words``."""
        async with asyncio.timeout(LIMIT_S):
            while not all(word in self.text() for word in words):
                await self._pilot.pause(0.1)

    async def press(self, *keys: str) -> None:
        """Press keys, in Textual's names."""
        await self._pilot.press(*keys)
        await self._pilot.pause(0.5)

    async def picture(self, name: str, *words: str) -> None:
        """Write ``tour-NAME.svg`` once the screen shows ``words``, without what is said in passing."""
        await self.see(*words)
        self._app.clear_notifications()
        await self._pilot.pause(0.8)
        path = self._folder / f"tour-{name}.svg"
        path.write_text(self._app.export_screenshot(title="tfserve-tui"), encoding="utf-8")


async def first_run(tour: Tour) -> None:
    """From nothing to a first measurement with one key."""
    await tour.picture("first-run", "batch-small")
    await tour.press("enter")
    await tour.picture("first-steps", "epoch")
    await tour.see("done in", "8 cells")
    while "all rounds" not in tour.text():
        await tour.press("v")
    await tour.picture("histogram")


async def panes(tour: Tour) -> None:
    """What the servers serve, answer and write."""
    await tour.press("m")
    await tour.picture("model", "AVAILABLE")
    await tour.press("t")
    await tour.see("next signature")
    await tour.press("ctrl+r")
    await tour.picture("try-it", "difference")
    await tour.press("escape", "l")
    await tour.picture("logs", "Logs")


async def dialogs(tour: Tour) -> None:
    """Settings and the doctor."""
    await tour.press("b", "f")
    await tour.picture("flags", "enable_batching")
    await tour.press("escape", "a")
    await tour.picture("doctor", "processor")
    await tour.press("escape")


async def history(tour: Tour) -> None:
    """A second run of the same, kept and compared with the first."""
    await tour.press("b", "0")
    await tour.see("measuring")
    await tour.see("done in", "8 cells")
    await tour.press("h")
    await tour.see("finished")
    await tour.press("down", "space", "up")
    await tour.picture("history", "is marked")
    await tour.press("k")
    await tour.picture("compare", "Welch")
    await tour.press("escape")


STORY: tuple[Callable[[Tour], Awaitable[None]], ...] = (first_run, panes, dialogs, history)


async def take_tour(folder: Path) -> None:
    """Write the pictures into ``folder``."""
    async with _app() as (app, pilot):
        tour = Tour(app, pilot, folder)
        for part in STORY:
            await part(tour)


@asynccontextmanager
async def _app() -> AsyncIterator[tuple[TfServeApp, Pilot[None]]]:
    """The app of a user who has nothing yet."""
    with tempfile.TemporaryDirectory(prefix="tour-") as home, chdir(home):
        for name in ("STATE", "DATA", "CONFIG"):
            os.environ[f"TFSERVE_{name}_DIR"] = f"{home}/{name.lower()}"
        settings = _settings()
        app = TfServeApp(load_settings(settings), make_engine=partial(open_engine, source=settings))
        async with app.run_test(size=SIZE) as pilot:
            main = app.screen
            assert isinstance(main, MainScreen)
            try:
                yield app, pilot
            finally:
                await main.conductor.close(stop_servers=True)


def _settings() -> Path:
    path = Path("tfserve.toml")
    path.write_text(SETTINGS.format(_port(8501), _port(7123)), encoding="utf-8")
    return path


def _port(wanted: int) -> int:
    """``wanted`` when it is free, for it looks as users will see it; else a free one."""
    for port in (wanted, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as free:
                return int(free.getsockname()[1])
        except OSError:
            continue
    raise RuntimeError("no free port")


if __name__ == "__main__":
    asyncio.run(take_tour(Path(__file__).parent))
