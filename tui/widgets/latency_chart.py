"""The chart of a run that is on: legend and plot of its newest ticks, all servers on one scale from zero."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size

from serving_ctl import formatting
from serving_ctl.bench.progress import Progress
from serving_ctl.events import CellTick, Target
from serving_ctl.results.tables import SIZE_LABELS
from tui.drawing import Line, Span, flow, line, server_glyph, server_role
from tui.widgets.drawn import Drawn
from tui.widgets.plot import plot_lines, slots_of

TITLE = "request time"
ROOMY = 9
"""Rows from which on the legend may take more of them."""


def chart_lines(progress: Progress, width: int, height: int) -> list[Line]:
    """Legend and plot in ``height`` lines, of the ladder that is or was last measured."""
    run = progress.run
    if run is None:
        return []
    ladder = progress.ticks[-1].cell.ladder if progress.ticks else run.started.ladders[0].name
    ticks = [tick for tick in progress.ticks if tick.cell.ladder == ladder]
    kind = SIZE_LABELS[run.ladder(ladder).kind]
    is_roomy = height >= ROOMY
    heading = line(
        Span(f"{TITLE}, ms" if is_roomy else "ms", "strong"), Span(f" by {kind}" if is_roomy else "", "quiet")
    )
    servers = [_legend(target, ticks, with_max=is_roomy) for target in run.started.targets]
    planned = len(run.ladder(ladder).sizes) * run.started.rounds
    legend = flow([heading, *servers], width, gap=3 if is_roomy else 2)
    return [*legend, *plot_lines(slots_of(ticks), width, height - len(legend), planned=planned)]


def _legend(target: Target, ticks: Sequence[CellTick], *, with_max: bool) -> Line:
    """The server's shape and name, and what its newest ticks say."""
    name = Span(f"{server_glyph(target.server)} {target.name}", f"strong {server_role(target.server)}")
    mine = [tick for tick in ticks if tick.cell.server == target.server]
    if not mine:
        return line(name)
    newest = mine[-1]
    highest = max((tick.max_ms for tick in mine if tick.cell == newest.cell and tick.max_ms is not None), default=None)
    spans = line(
        name,
        Span(f" at {formatting.count(newest.cell.size)}: p50 ", "quiet"),
        formatting.significant(newest.p50_ms),
        *line(Span(" max ", "quiet"), formatting.significant(highest)) * with_max,
    )
    return (*spans, Span(f"  {formatting.significant(newest.throughput_rps)} req/s", "quiet"))


class LatencyChart(Drawn):
    """All servers in one chart."""

    DEFAULT_CSS = """
    LatencyChart { height: 1fr; width: 1fr; background: $surface; }
    """

    def draw(self, size: Size) -> Sequence[Line]:
        """The chart at this size."""
        return chart_lines(self.progress, size.width, size.height)
