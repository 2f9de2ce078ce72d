"""The tasks of tf-serving's Docker Swarm service: who they are, where, and why one failed; one more or fewer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.widgets import Static

from serving_ctl import formatting
from tui import keys
from tui.screens.listing import Listing

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


class TasksScreen(Listing):
    """One line a task, by slot, looked at every second."""

    TITLE = "● tf-serving: tasks of the Swarm service"
    PLACE = "tasks"
    COLUMNS: ClassVar[tuple[str, ...]] = ("task", "state", "node", "address", "for")
    NUMBERS = frozenset({"task", "for"})
    REFRESH_S = 1.0
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("tasks")]

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._replicas = 0
        self._errors: list[str] = []

    async def load(self) -> Sequence[Sequence[str]]:
        """The tasks as the Swarm manager tells them."""
        tasks = await self._engine.parts.tasks()
        self._replicas = sum(task.wanted for task in tasks)
        self._errors = [f"Task {task.slot}: {task.error}" for task in tasks if task.error]
        return [
            (
                str(task.slot),
                task.state if task.wanted else f"{task.state}, replaced",
                task.node or formatting.MISSING,
                task.url.removeprefix("http://") or formatting.MISSING,
                formatting.duration(max(0.0, time.time() - task.since)),
            )
            for task in tasks
        ]

    def looked(self, count: int) -> None:
        """How many should run, and what became of those that failed."""
        del count
        self.say(f"{formatting.plural(self._replicas, 'task')}; the number stands in every result's label.")
        self.query_one("#listing-more", Static).update("\n".join(self._errors))

    def action_change(self, change: int) -> None:
        """One more or one fewer."""
        replicas = self._replicas + change
        if replicas < 1:
            self.say("One task stays; the main screen's keys stop tf-serving.")
            return
        self.do(self._scale(replicas), f"scaling to {formatting.plural(replicas, 'task')} …")

    async def _scale(self, replicas: int) -> None:
        await self._engine.parts.scale(replicas)
