"""The last line of the screen: the keys that do something now on the pane in sight; each can be clicked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from textual import events
from textual.geometry import Size
from textual.reactive import var

from tui import keys
from tui.drawing import Line, Span, apart, cut_line, line, line_width
from tui.keys import Key
from tui.possible import Situation, obstacle
from tui.widgets.drawn import Drawn

GAP = "  "
PALETTE = line(Span("^p", "key"), " palette")
SHARED = {
    "model": {"next_view": "JSON, code", "copy": "copy", "update": "ask again"},
    "try": {"next_view": "signature", "copy": "copy"},
    "logs": {"next_view": "severity", "copy": "copy"},
    "history": {"copy": "copy", "update": "read again"},
}
"""Keys that work everywhere and mean something of its own on a pane: what they are called there."""


class KeyItem(NamedTuple):
    """One key of the line: its spans and the action a click on it runs (empty for the number keys)."""

    spans: Line
    action: str


def key_items(now: Situation) -> list[KeyItem]:
    """The keys that do something now on the pane in sight, those that matter most first, help and quit last."""
    own = _bench_keys(now) if now.pane == "bench" else _pane_keys(now)
    always = [(key, key.label) for key in keys.table() if key.footer == keys.ALWAYS]
    found = (_item(now, key, label) for key, label in (*own, *always))
    return [item for item in found if item is not None]


def _bench_keys(now: Situation) -> list[tuple[Key, str]]:
    """What steers a run while one is on, else what begins one; then what shows its results in another way."""
    shown = (keys.RUNNING if now.is_running else keys.IDLE, keys.BENCH)
    found = [(key, _label(now, key)) for state in shown for key in keys.table() if key.footer == state]
    if now.is_moving and not now.is_running:
        found = [*((key, key.label) for key in keys.table() if key.id == "cancel_run"), *found]
    details = [(key, key.label) for key in keys.table() if key.place == "table" and key.label]
    return [*found, *(details if now.has_run and now.is_short else ())]


def _pane_keys(now: Situation) -> list[tuple[Key, str]]:
    """What stops the run behind the pane, the pane's own keys, and those that mean something of its own on it."""
    table = keys.table()
    by_id = {key.id: key for key in table}
    behind = [by_id["cancel_run"]] if now.is_running else []
    own = [*behind, *(key for key in table if key.place == now.pane and key.label)]
    shared = [(by_id[name], label) for name, label in SHARED.get(now.pane, {}).items()]
    return [*((key, key.label) for key in own), *shared, (by_id["show_pane_bench"], "Bench")]


def _label(now: Situation, key: Key) -> str:
    """What the key does to which servers, where that follows from the state."""
    if key.verb == "toggle_servers":
        up = now.card in now.servers_up if now.card else now.all_up
        verb = "call off" if now.is_moving else "stop" if up else "start"
        return f"{verb} {now.card}".strip()
    if key.verb == "pause" and now.is_paused:
        return "go on"
    return f"{key.label} {now.card}".strip() if key.verb == "restart_servers" else key.label


def _item(now: Situation, key: Key, label: str) -> KeyItem | None:
    """The key as it is written; None for one that does nothing now."""
    is_run = key.action == "run_preset"
    written = digits_text(now.preset_keys) if is_run else keys.short(key)
    argument = min(now.preset_keys, default="") if is_run else key.argument
    is_text = now.is_typing and (is_run or len(written) == 1)
    if not written or is_text or obstacle(now, key.verb, argument) or (key.verb == "next_view" and _has_no_view(now)):
        return None
    click = key.action if key.place == "main" and not is_run else ""
    return KeyItem(line(Span(written, "key"), f" {label}"), click)


def _has_no_view(now: Situation) -> bool:
    return now.pane == "bench" and not now.has_run


def digits_text(digits: Iterable[str]) -> str:
    """Keys as people write them: 0–4, or 1 3 7 when they do not follow one another."""
    found = sorted(digits)
    numbers = [int(digit) for digit in found if digit.isdigit()]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{found[0]}–{found[-1]}"
    return " ".join(found)


def fitting_items(now: Situation, width: int) -> list[KeyItem]:
    """The items that fit beside the palette; of too many those before help and quit are left out, the last first."""
    items = key_items(now)
    always = sum(key.footer == keys.ALWAYS for key in keys.table())
    room = width - line_width(PALETTE) - 1
    while len(items) > always and sum(line_width(item.spans) + len(GAP) for item in items) - len(GAP) > room:
        del items[-always - 1]
    return items


def key_line(now: Situation, width: int) -> Line:
    """All keys in one line, the palette at its right end."""
    spans = tuple(span for item in fitting_items(now, width) for span in (*item.spans, Span(GAP)))
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
        """Show other keys."""
        self.redraw()

    async def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        column = 0
        for item in fitting_items(self.situation, self.size.width):
            column += line_width(item.spans) + len(GAP)
            if event.x < column:
                if item.action:
                    await self.screen.run_action(item.action)
                return
        if event.x >= self.size.width - line_width(PALETTE):
            self.app.action_command_palette()
