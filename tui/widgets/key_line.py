"""The last line of the screen: the keys that matter, bright while they do something, and clickable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from textual import events
from textual.geometry import Size
from textual.reactive import var

from tui import keys
from tui.drawing import Line, Span, apart, cut_line, line, line_width
from tui.possible import Situation, obstacle
from tui.widgets.drawn import Drawn

GAP = "  "
PALETTE = line(Span("^p", "key"), " palette")


class KeyItem(NamedTuple):
    """One key of the line: its spans and the action a click on it runs (empty for the number keys)."""

    spans: Line
    action: str


def key_items(now: Situation) -> list[KeyItem]:
    """The footer's keys, those of a run while one is on; what is not possible now is faint."""
    items = []
    shown = {keys.ALWAYS, keys.RUNNING if now.is_running else keys.IDLE}
    for key in keys.table(now.chosen_keys):
        if key.footer not in shown:
            continue
        is_run = key.action == "run_preset"
        written = digits_text(now.preset_keys) if is_run else keys.written(key).partition(" ")[0]
        if not written:
            continue
        blocked = obstacle(now, key.verb, min(now.preset_keys, default="") if is_run else key.argument)
        key_role, label_role = ("faint", "faint") if blocked else ("key", "")
        spans = line(Span(written, key_role), Span(f" {key.label}", label_role))
        items.append(KeyItem(spans, "" if is_run else key.action))
    return items


def digits_text(digits: Iterable[str]) -> str:
    """Keys as people write them: 0–4, or 1 3 7 when they do not follow one another."""
    found = sorted(digits)
    numbers = [int(digit) for digit in found if digit.isdigit()]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{found[0]}–{found[-1]}"
    return " ".join(found)


def key_line(now: Situation, width: int) -> Line:
    """All keys in one line, the palette at its right end."""
    spans = tuple(span for item in key_items(now) for span in (*item.spans, Span(GAP)))
    return apart(spans[:-1], PALETTE, width)


class KeyLine(Drawn):
    """Keys from the one table of keys."""

    DEFAULT_CSS = "KeyLine { height: 1; dock: bottom; background: $panel; }"

    situation: var[Situation] = var(Situation(), init=False)
    """What decides which keys do something now."""

    def draw(self, size: Size) -> Sequence[Line]:
        """One line."""
        return [cut_line(key_line(self.situation, size.width), size.width)]

    def watch_situation(self) -> None:
        """Brighten and dim."""
        self.redraw()

    async def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        column = 0
        for item in key_items(self.situation):
            column += line_width(item.spans) + len(GAP)
            if event.x < column:
                if item.action:
                    await self.screen.run_action(item.action)
                return
        if event.x >= self.size.width - line_width(PALETTE):
            self.app.action_command_palette()
