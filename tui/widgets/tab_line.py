"""The names of the panes, the one in sight marked; a click shows another."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.reactive import var

from tui.drawing import Line, Span
from tui.widgets.drawn import Drawn

TABS = {"bench": "Bench", "model": "Model", "try": "Try it", "logs": "Logs", "history": "History"}
"""Panes by id."""


def tab_line(active: str) -> Line:
    """The names in one line."""
    return tuple(Span(f" {name} ", "brand" if pane == active else "quiet") for pane, name in TABS.items())


class TabLine(Drawn):
    """Which pane is in sight."""

    DEFAULT_CSS = "TabLine { height: 1; }"

    active: var[str] = var("bench", init=False)
    """Id of the pane in sight."""

    class Chosen(Message):
        """A pane was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def draw(self, size: Size) -> Sequence[Line]:
        """One line."""
        return [tab_line(self.active)]

    def watch_active(self) -> None:
        """Mark another."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Say which pane was meant."""
        column = 0
        for pane, name in TABS.items():
            column += len(name) + 2
            if event.x < column:
                self.post_message(self.Chosen(pane))
                return
