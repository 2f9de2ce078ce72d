"""The newest lines a server wrote."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size
from textual.reactive import var

from tui.drawing import Line, Span, line, server_glyph, wrap
from tui.widgets.drawn import Drawn


def tail_lines(lines: Sequence[str], width: int, height: int) -> list[Line]:
    """The last ``height`` rows of ``lines``, long ones wrapped; control characters become blanks."""
    rows: list[Line] = []
    for text in reversed(lines[-height:]):
        clean = "".join(letter if letter.isprintable() else " " for letter in text)
        rows[:0] = [line(part) for part in wrap(clean, width) or [""]]
        if len(rows) >= height:
            break
    return rows[-height:]


class LogTail(Drawn, can_focus=True):
    """Follows what one server writes."""

    DEFAULT_CSS = """
    LogTail { height: 1fr; border: round $border; border-title-style: bold; padding: 0 1; }
    """

    lines: var[tuple[str, ...]] = var((), init=False)
    """The newest lines, oldest first."""

    def __init__(self, server: str) -> None:
        super().__init__(id=f"log-{server}")
        self.server = server
        self.border_title = f"{server_glyph(server)} {server}"

    def draw(self, size: Size) -> Sequence[Line]:
        """As much of the end as fits."""
        if not self.lines:
            return [line(Span("Nothing yet; s starts the servers, and their lines appear here.", "quiet"))]
        return tail_lines(self.lines, size.width, size.height)

    def watch_lines(self) -> None:
        """Show the new end."""
        self.redraw()
