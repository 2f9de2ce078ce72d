"""The fairness card (R23): what makes the two sides comparable, and what does not, always in sight."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size

from serving_ctl.events import Fact
from tui.drawing import Line, Span, cut, cut_line, line, wrap
from tui.widgets.drawn import Drawn

MARKS = {"ok": ("✓", "better"), "warn": ("!", "warn"), "info": ("·", "quiet")}


def fairness_lines(facts: Sequence[Fact], width: int) -> list[Line]:
    """One line a fact, what to beware of first."""
    order = ("warn", "ok", "info")
    ranked = sorted(facts, key=lambda fact: order.index(fact.mark) if fact.mark in order else len(order))
    return [spans for fact in ranked for spans in _fact_lines(fact, width)]


def fairness_summary(facts: Sequence[Fact], width: int) -> Line:
    """All facts in one line: how many of each mark, and the warnings by name."""
    good = sum(fact.mark == "ok" for fact in facts)
    warnings = [fact.short for fact in facts if fact.mark == "warn"]
    spans = line(Span("fairness ", "strong"), Span(f"✓ {good}", "better"), "  ")
    if warnings:
        spans = (*spans, Span(f"! {len(warnings)} ", "warn"), Span(" · ".join(warnings), "quiet"))
    return cut_line(spans, width)


def _fact_lines(fact: Fact, width: int) -> list[Line]:
    mark, role = MARKS.get(fact.mark, ("·", "quiet"))
    first, *rest = wrap(fact.short, width - 2) or [""]
    text_role = "quiet" if fact.mark == "info" else ""
    return [
        line(Span(f"{mark} ", role), Span(first, text_role)),
        *(line(Span(f"  {more}", text_role)) for more in rest),
    ]


class FairnessCard(Drawn):
    """The facts of the run in sight."""

    DEFAULT_CSS = """
    FairnessCard {
        border: round $border;
        border-title-style: bold;
        border-title-color: $foreground;
        padding: 0 1;
    }
    """

    def __init__(self) -> None:
        super().__init__(id="fairness")
        self.border_title = "fairness"

    def draw(self, size: Size) -> Sequence[Line]:
        """The card, or the summary where there is one line only."""
        run = self.progress.run
        if run is None:
            lead = "fairness: " if self.has_class("-compact") else ""
            text = f"{lead}filled in when a run begins"
            return [line(Span(cut(text, size.width), "quiet"))]
        if self.has_class("-compact"):
            return [fairness_summary(run.started.facts, size.width)]
        lines = fairness_lines(run.started.facts, size.width)
        if size.height and len(lines) > size.height:
            hidden = len(lines) - size.height + 1
            lines[size.height - 1 :] = [line(Span(f"… {hidden} more in the export", "quiet"))]
        return lines
