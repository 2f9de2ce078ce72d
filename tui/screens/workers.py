"""gunicorn's workers: who they are and what they use; add, remove and replace them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from serving_ctl import formatting
from serving_ctl.config import FLASK
from tui import keys
from tui.screens.listing import Listing

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


class WorkersScreen(Listing):
    """One line a worker, oldest first, looked at every second."""

    TITLE = "■ flask: gunicorn's workers"
    PLACE = "workers"
    COLUMNS: ClassVar[tuple[str, ...]] = ("pid", "CPU", "memory", "requests", "up for")
    NUMBERS = frozenset(COLUMNS)
    REFRESH_S = 1.0
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("workers")]

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._pids: tuple[int, ...] = ()

    async def load(self) -> Sequence[Sequence[str]]:
        """The workers as gunicorn tells them."""
        workers = await self._engine.parts.workers(FLASK)
        self._pids = tuple(worker.pid for worker in workers)
        return [
            (
                str(worker.pid),
                formatting.MISSING if worker.cpu_percent is None else formatting.percent(worker.cpu_percent),
                formatting.memory(worker.memory_mb),
                formatting.count(worker.requests),
                formatting.duration(max(0.0, time.time() - worker.started_at)),
            )
            for worker in workers
        ]

    def looked(self, count: int) -> None:
        """How many there are."""
        self.say(f"{formatting.plural(count, 'worker')}; the number stands in every result's label.")

    def action_change(self, change: int) -> None:
        """One more or one fewer."""
        doing = "adding a worker …" if change > 0 else "removing the oldest worker …"
        self.do(self._engine.parts.change_workers(FLASK, change), doing)

    def action_replace(self) -> None:
        """A fresh one in its place."""
        if 0 <= self.row < len(self._pids):
            pid = self._pids[self.row]
            self.do(self._engine.parts.replace_worker(FLASK, pid), f"replacing worker {pid} …")
