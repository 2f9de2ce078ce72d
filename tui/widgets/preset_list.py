"""What the Bench pane says before the first run: how things stand, the one next step, and the presets by key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.geometry import Size
from textual.reactive import var

from serving_ctl import formatting
from tui import keys
from tui.drawing import Line, Span, cut_line, flow, left, line, line_width, right, wrap
from tui.possible import Situation
from tui.widgets.drawn import Drawn

if TYPE_CHECKING:
    from serving_ctl.engine import PresetSummary

TIME_COLUMNS, CELLS_COLUMNS = len("about 10m00s"), len("  160 cells")
SECONDS_MOST = 10.0
"""Seconds below which an expected time is told in whole ones."""
WELCOME = "What does TensorFlow Serving give you over gunicorn + Flask, with your model, on this machine?"
ELSEWHERE = {
    "show_pane_model": "what the servers serve",
    "show_pane_try": "try one request",
    "show_pane_logs": "logs",
    "show_pane_history": "earlier runs",
    "open_preset": "change a preset",
    "open_flags": "flags of tf-serving",
    "open_doctor": "what is wrong here",
}
"""Where else a newcomer may look: keys by id."""
READY = "The servers are ready: press 1 to run {name}, or any other number. "
MOVING = "The servers are on their way; {toggle_servers} calls that off."
NEXT_STEP = "A number runs its test; servers that do not run are started first. {toggle_servers} only starts them. "
CELLS = "A cell is one server at one size in one round."


def preset_lines(
    presets: Sequence[PresetSummary], now: Situation, note: str, width: int, *, offer: str = ""
) -> list[Line]:
    """The state of things and the one next step, the presets, and what a number does.

    ``offer`` is what Enter would do, ``note`` what goes on before there are presets.
    """
    lines: list[Line] = []
    if not now.servers_up:
        lines += [*((Span(text, "strong"),) for text in wrap(WELCOME, width)), ()]
    lines += _lead(presets, now, offer, width)
    if note:
        lines += [*((Span(text, "quiet"),) for text in wrap(note, width)), ()]
    widest = max((cell_len(preset.name) for preset in presets), default=0)
    titles = max((cell_len(preset.title) for preset in presets), default=0)
    lines += [spans for preset in presets for spans in _preset_lines(preset, widest, titles, width)]
    if presets and not now.problem and not now.all_up and not now.is_moving:
        lines += [(), *((Span(text, "quiet"),) for text in wrap(keys.say(NEXT_STEP) + CELLS, width))]
    return (
        [*lines, (), *flow([_elsewhere(name, words) for name, words in ELSEWHERE.items()], width)] if presets else lines
    )


def _elsewhere(name: str, words: str) -> Line:
    """A key and what lies behind it."""
    return line(Span(keys.say(f"{{{name}}}"), "key"), Span(f" {words}", "quiet"))


def _lead(presets: Sequence[PresetSummary], now: Situation, offer: str, width: int) -> list[Line]:
    """What is the case and which key comes next; nothing while a run is being prepared, which says so itself."""
    if now.is_running:
        return []
    if now.problem and not offer:
        return [*((Span(text, "warn"),) for text in wrap(f"! {now.problem}", width)), ()]
    if now.is_moving:
        return [*((Span(text, "warn"),) for text in wrap(keys.say(MOVING), width)), ()]
    first = next((preset for preset in presets if preset.key == "1"), None)
    words = READY.format(name=first.name) if now.all_up and first else ""
    return [*_with_keys(words + offer, ("1", keys.say("{first_step}")), width), ()] if words or offer else []


def _with_keys(sentence: str, shown: Sequence[str], width: int) -> list[Line]:
    """A sentence behind the mark of a next step, with the keys in it standing out."""
    return [
        (
            Span("  " if number else "▸ ", "key"),
            *(Span(word, "key" if word.strip() in shown else "") for word in re.findall(r"\S+\s*", text)),
        )
        for number, text in enumerate(wrap(sentence, width - 2))
    ]


def _preset_lines(preset: PresetSummary, widest: int, titles: int, width: int) -> list[Line]:
    """Key, name, title and times in columns; the times go below where one line is too short for all."""
    head = line(Span(f" {preset.key} ", "key"), Span(f" {left(preset.name, widest)}  ", "strong"))
    brief = preset.expected_s < SECONDS_MOST
    expected = f"{formatting.count(round(preset.expected_s))} s" if brief else formatting.duration(preset.expected_s)
    facts = line(
        Span(
            right(f"about {expected}", TIME_COLUMNS) + right(formatting.plural(preset.cells, "cell"), CELLS_COLUMNS),
            "quiet",
        )
    )
    whole = (*head, Span(left(preset.title, titles)), Span("  "), *facts)
    if line_width(whole) <= width:
        return [whole]
    first, *rest = flow([(*head, Span(preset.title)), facts], width, gap=2)
    return [first, *(cut_line((Span(" " * (widest + 6)), *spans), width) for spans in rest)]


class PresetList(Drawn):
    """The first thing a newcomer reads."""

    DEFAULT_CSS = "PresetList { height: auto; padding: 1 1 0 0; }"

    presets: var[tuple[PresetSummary, ...]] = var((), init=False)
    """What the number keys run."""
    situation: var[Situation] = var(Situation(), init=False)
    """What is possible, and why no run is."""
    note: var[str] = var("", init=False)
    """What is going on while there are no presets yet."""

    offer: var[str] = var("", init=False)
    """What Enter would do, in one sentence; empty when it does nothing."""

    def draw(self, size: Size) -> Sequence[Line]:
        """The welcome."""
        return preset_lines(self.presets, self.situation, self.note, size.width, offer=self.offer)

    def watch_offer(self) -> None:
        """Show the offer."""
        self.redraw()

    def watch_presets(self) -> None:
        """Show the presets."""
        self.redraw()

    def watch_situation(self) -> None:
        """Show what is possible."""
        self.redraw()

    def watch_note(self) -> None:
        """Show the note."""
        self.redraw()
