"""One server's log on the screen: the end of it, or where the reader stopped; long lines wrap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message

from serving_ctl import formatting
from tui import keys
from tui.drawing import Line, Span, line, server_glyph, wrap
from tui.log_lines import ERROR, SEVERITIES, WARNING, LogLines, severity
from tui.widgets.drawn import Drawn

ROLES = {WARNING: ("! ", "warn"), ERROR: ("✗ ", "worse")}


def tail_lines(lines: Sequence[str], width: int, height: int) -> list[Line]:
    """The last ``height`` rows of ``lines``, long ones wrapped, warnings and errors marked."""
    rows: list[Line] = []
    for text in reversed(lines[-height:] if height else []):
        mark, role = ROLES.get(severity(text), ("  ", ""))
        first, *rest = wrap(text, width - 2) or [""]
        rows[:0] = [line(Span(mark, role), Span(first, role)), *(line(Span(f"  {part}", role)) for part in rest)]
        if len(rows) >= height:
            break
    return rows[-height:] if height else []


class LogTail(Drawn, can_focus=True):
    """Follows what one server writes, until the reader scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [one for one in keys.bindings("logs") if one.action != "filter"]
    DEFAULT_CSS = """
    LogTail { height: 1fr; border: round $border; border-title-style: bold; padding: 0 1; }
    LogTail:focus { border: round $accent; }
    """

    class AllWanted(Message):
        """The key for all lines was pressed."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self.server = server
        self.lines = LogLines()
        self._end: int | None = None
        """Position behind the lowest line in sight; None follows the end."""
        self.border_title = f"{server_glyph(server)} {server}"
        self.border_subtitle = keys.hint("logs")

    def add(self, lines: Iterable[str]) -> None:
        """Take in new lines."""
        self.lines.add(lines)
        self._show()

    def choose(self, needle: str, least: int) -> None:
        """Show only what holds ``needle`` and is severe enough."""
        self.lines.choose(needle, least)
        self._end = None
        self._show()

    def draw(self, size: Size) -> Sequence[Line]:
        """As much as fits above the lowest line."""
        if not self.lines.end:
            return [line(Span(part, "quiet")) for part in wrap(self._nothing, size.width)]
        end = self.lines.end if self._end is None else self._end
        return tail_lines(self.lines.between(end - size.height, end), size.width, size.height)

    def action_show_all(self) -> None:
        """No filter."""
        self.post_message(self.AllWanted())

    def action_follow(self) -> None:
        """Follow the end, or stay here."""
        self._end = self.lines.end if self._end is None else None
        self._show()

    def action_scroll(self, lines: int) -> None:
        """Up or down; at the end it follows again."""
        end = (self.lines.end if self._end is None else self._end) + lines
        lowest = self.lines.begin + min(self.content_size.height, self.lines.end - self.lines.begin)
        self._end = None if end >= self.lines.end else max(end, lowest)
        self._show()

    def action_first_error(self) -> None:
        """Show the first error on top."""
        found = self.lines.first_error()
        if found is None:
            self.notify(f"No error in the log of {self.server}.", markup=False)
            return
        self._end = min(self.lines.end, found + max(1, self.content_size.height // 2))
        self._show()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel scrolls."""
        event.stop()
        self.action_scroll(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel scrolls."""
        event.stop()
        self.action_scroll(3)

    def text_to_copy(self) -> str:
        """All passing lines."""
        return "\n".join(self.lines.between(self.lines.begin, self.lines.end))

    @property
    def _nothing(self) -> str:
        """What is said in place of lines."""
        if self.lines.kept:
            kept = formatting.plural(self.lines.kept, "line")
            return f"None of {kept} passes; " + keys.say("{logs_show_all} shows all.")
        return keys.say("Nothing yet; {toggle_servers} starts the servers.")

    def _show(self) -> None:
        where = "following" if self._end is None else f"{formatting.count(self.lines.end - self._end)} lines below"
        passing = self.lines.end - self.lines.begin
        kept = formatting.plural(passing, "line")
        if passing != self.lines.kept:
            kept += f" of {formatting.count(self.lines.kept)}"
        self.border_title = f"{server_glyph(self.server)} {self.server}  {kept}  {where}"
        self.redraw()


def severity_name(least: int) -> str:
    """What is shown at this least severity."""
    return SEVERITIES[least]
