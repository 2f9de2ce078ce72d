"""What the Bench pane says before the first run: the presets by key, and the one next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.geometry import Size
from textual.reactive import var

from serving_ctl import formatting
from tui.drawing import Line, Span, cut_line, flow, line, wrap
from tui.widgets.drawn import Drawn

if TYPE_CHECKING:
    from serving_ctl.engine import PresetSummary

WELCOME = "What does TensorFlow Serving give you over gunicorn + Flask, with your model, on this machine?"


def preset_lines(
    presets: Sequence[PresetSummary], problem: str, note: str, width: int, *, offer: str = ""
) -> list[Line]:
    """The welcome: what Enter does (``offer``), else what hinders a run (``problem``), and the presets."""
    lines: list[Line] = [(Span(text, "strong"),) for text in wrap(WELCOME, width)]
    lines.append(())
    if offer:
        first, *more = wrap(offer, width - 2)
        before, key, after = first.partition("Enter")
        lines.append(line(Span("▸ ", "key"), before, Span(key, "key"), after))
        lines += [line(f"  {text}") for text in more]
        lines.append(())
    elif problem:
        lines += [(Span(text, "warn"),) for text in wrap(f"! {problem}", width)]
        lines.append(())
    if note:
        lines += [(Span(text, "quiet"),) for text in wrap(note, width)]
    widest = max((len(preset.name) for preset in presets), default=0)
    lines += [spans for preset in presets for spans in _preset_lines(preset, widest, width)]
    if presets and not problem:
        lines.append(())
        next_step = "Press a number: servers that do not run are started first. s starts both without a run."
        lines += [(Span(text, "quiet"),) for text in wrap(next_step, width)]
    return lines


def _preset_lines(preset: PresetSummary, widest: int, width: int) -> list[Line]:
    """Key, name, title and times; the times go below where one line is too short for all."""
    head = line(Span(f" {preset.key} ", "key"), Span(f" {preset.name.ljust(widest)}  ", "strong"), preset.title)
    facts = f"{formatting.plural(preset.cells, 'cell')}, about {formatting.duration(preset.expected_s)}"
    first, *rest = flow([head, line(Span(facts, "quiet"))], width, gap=2)
    return [first, *(cut_line((Span(" " * (widest + 6)), *spans), width) for spans in rest)]


class PresetList(Drawn):
    """The first thing a newcomer reads."""

    DEFAULT_CSS = "PresetList { height: auto; padding: 1 1 0 0; }"

    presets: var[tuple[PresetSummary, ...]] = var((), init=False)
    """What the number keys run."""
    problem: var[str] = var("", init=False)
    """One sentence that says why no run can begin and what to do; empty when one can."""
    note: var[str] = var("", init=False)
    """What is going on while there are no presets yet."""

    offer: var[str] = var("", init=False)
    """What Enter would do, in one sentence; empty when it does nothing."""

    def draw(self, size: Size) -> Sequence[Line]:
        """The welcome."""
        return preset_lines(self.presets, self.problem, self.note, size.width, offer=self.offer)

    def watch_offer(self) -> None:
        """Show the offer."""
        self.redraw()

    def watch_presets(self) -> None:
        """Show the presets."""
        self.redraw()

    def watch_problem(self) -> None:
        """Show the problem."""
        self.redraw()

    def watch_note(self) -> None:
        """Show the note."""
        self.redraw()
