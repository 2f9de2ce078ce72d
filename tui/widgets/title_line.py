"""The first line of the screen: the program, the model, and whether this is a replay."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size
from textual.reactive import var

from tui.drawing import Line, Span, apart
from tui.widgets.drawn import Drawn


class TitleLine(Drawn):
    """Program, model and mode."""

    DEFAULT_CSS = "TitleLine { height: 1; background: $panel; }"

    model: var[str] = var("", init=False)
    """The model's folder or name."""
    mode: var[str] = var("", init=False)
    """What is special about this session, e.g. ``replay of r.jsonl``."""

    def draw(self, size: Size) -> Sequence[Line]:
        """One line."""
        run = self.progress.run
        name = run.started.model if run else self.model
        start: Line = (Span(" tfserve-tui ", "brand"), Span("  "), Span(name, "strong"))
        if run:
            start = (*start, Span(f"  {run.started.signature}", "quiet"))
        return [apart(start, (Span(f"{self.mode} ", "warn"),), size.width)]

    def watch_model(self) -> None:
        """Show the new name."""
        self.redraw()

    def watch_mode(self) -> None:
        """Show the new mode."""
        self.redraw()
