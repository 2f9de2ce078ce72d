"""The charts, drawn by matplotlib (imported only here, and only when a chart is asked for).

Colours are named by role, so that the HTML can let its style sheet choose them; the text stays text.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from serving_ctl import formatting
from serving_ctl.events import Ladder
from serving_ctl.results.details import PARTS
from serving_ctl.results.metrics import CHARTED
from serving_ctl.results.record import RunRecord
from serving_ctl.results.series import Bar, Curve, Spectrum, bars, curves, shown_sizes, spectra
from serving_ctl.results.tables import SIZE_LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = {
    "ink": "#1d242a",
    "quiet": "#555f68",
    "grid": "#d5dade",
    "first": "#0a58b8",
    "second": "#a84a00",
    "third": "#8a1c8c",
    "fourth": "#2f6b00",
    "fifth": "#b3124f",
    "sixth": "#5b5b5b",
    "connect": "#8a5a00",
    "network": "#7a868f",
    "json": "#6d4fb3",
    "queue": "#14702a",
    "graph": "#0d6e73",
}
"""The role of each colour and what it is on white paper; servers have the colours they have in the terminal."""
LOOKS = {"first": "o", "second": "s", "third": "^", "fourth": "D", "fifth": "v", "sixth": "P"}
"""Role of the colour, and marker, of each target by its place."""
Styles = Mapping[str, tuple[str, str]]
"""Colour and marker by server."""
WIDTH, HEIGHT = 6.6, 3.6
BAR_HEIGHT = 0.26
MANY_DECADES = 1e4
"""From this range on a log axis has ticks at powers of ten only."""
NINES = {2: "50 %", 10: "90 %", 100: "99 %", 1000: "99.9 %", 10_000: "99.99 %"}
"""Where a percentile p stands on a spectrum's axis, 1 / (1 − p), and what is written there."""
_NO_DATE = {"Date": None, "Creator": None}
_PLAIN_IDS = re.compile(r' id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend|PolyCollection|'
                        r'FillBetweenPolyCollection|LineCollection)_\d+"')  # fmt: skip
_HEAD = re.compile(r"^.*?(?=<svg )", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One chart: what it is called, its height in inches, and what draws it."""

    title: str
    height: float
    draw: Callable[[Axes], None]


def charts_of(record: RunRecord) -> tuple[Chart, ...]:
    """For each ladder its metrics by size, percentile spectra and time split; what has no data is left out."""
    return tuple(
        chart
        for ladder in record.started.ladders
        for chart in (*_curve_charts(record, ladder), *_spectrum_charts(record, ladder), *_split_charts(record, ladder))
    )


def chart_svg(chart: Chart, colours: Mapping[str, str]) -> str:
    """``chart`` as an ``<svg>`` element with transparent ground; ``colours`` by role, any CSS colour."""
    with _style(chart.title):
        figure = _figure(WIDTH, chart.height)
        chart.draw(figure.add_subplot())
        text = _saved(figure, "svg", transparent=True).decode("utf-8")
    text = _METADATA.sub("", _PLAIN_IDS.sub("", _HEAD.sub("", text, count=1)))
    for role, paper in PALETTE.items():
        text = text.replace(paper, colours[role])
    return text


def charts_picture(record: RunRecord, kind: str) -> bytes:
    """All charts below each other as one picture, ``svg`` or ``png``, on white."""
    charts = charts_of(record)
    heights = [chart.height for chart in charts] or [1.0]
    with _style(record.started.run_id):
        figure = _figure(WIDTH + 1, sum(heights))
        if not charts:
            figure.text(0.5, 0.5, "nothing was measured that could be drawn", ha="center", color=PALETTE["ink"])
            return _saved(figure, kind, transparent=False)
        places = figure.subplots(len(charts), height_ratios=heights, squeeze=False)[:, 0]
        for chart, axes in zip(charts, places, strict=True):
            chart.draw(axes)
            axes.set_title(chart.title, loc="left", color=PALETTE["ink"], fontsize=10)
        return _saved(figure, kind, transparent=False)


def _curve_charts(record: RunRecord, ladder: Ladder) -> list[Chart]:
    found = ((metric, curves(record, ladder, metric)) for metric in CHARTED.get(ladder.kind, ()))
    return [
        Chart(
            title=f"{ladder.name}: {metric.label}",
            height=HEIGHT,
            draw=partial(
                _draw_curves,
                lines=lines,
                styles=styles_of(record),
                ladder=ladder,
                scale=f"{metric.label}, {metric.unit}",
            ),
        )
        for metric, lines in found
        if lines
    ]


def _draw_curves(axes: Axes, *, lines: Sequence[Curve], styles: Styles, ladder: Ladder, scale: str) -> None:
    for line in lines:
        colour, marker = styles[line.server]
        axes.fill_between(line.sizes, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(line.sizes, line.values, color=colour, marker=marker, markersize=4, label=line.name)
    _label(axes, SIZE_LABELS[ladder.kind], scale)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(list(ladder.sizes), labels=[formatting.count(size) for size in ladder.sizes], minor=False)
    axes.set_xticks([], minor=True)
    _plain_numbers(axes)


def _spectrum_charts(record: RunRecord, ladder: Ladder) -> list[Chart]:
    found = ((size, spectra(record, ladder, size)) for size in shown_sizes(ladder))
    return [
        Chart(
            title=f"{ladder.name}: percentiles at {SIZE_LABELS[ladder.kind]} {formatting.count(size)}",
            height=HEIGHT,
            draw=partial(_draw_spectra, lines=lines, styles=styles_of(record)),
        )
        for size, lines in found
        if lines
    ]


def _draw_spectra(axes: Axes, *, lines: Sequence[Spectrum], styles: Styles) -> None:
    """Request time by percentile, the percentiles spaced by their number of nines."""
    for line in lines:
        rare = [1 / (1 - p) for p in line.percentiles]
        colour, marker = styles[line.server]
        axes.plot(rare, line.times_ms, color=colour, marker=marker, markevery=[-1], markersize=4, label=line.name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _label(axes, "percentile", "request time, ms")
    last = max(1 / (1 - line.percentiles[-1]) for line in lines)
    shown = {place: word for place, word in NINES.items() if place <= last * 1.01}
    axes.set_xticks(list(shown), labels=list(shown.values()), minor=False)
    axes.set_xticks([], minor=True)
    _plain_numbers(axes)


def _split_charts(record: RunRecord, ladder: Ladder) -> list[Chart]:
    rows = bars(record, ladder)
    if not rows:
        return []
    height = 1.2 + BAR_HEIGHT * len(rows)
    return [Chart(title=f"{ladder.name}: where the time went", height=height, draw=partial(_draw_split, rows=rows))]


def _draw_split(axes: Axes, *, rows: Sequence[Bar]) -> None:
    from matplotlib.patches import Patch

    for place, bar in enumerate(rows):
        _draw_bar(axes, place, bar)
    axes.set_yticks(range(len(rows)), labels=[f"{formatting.count(bar.size)} {bar.name}" for bar in rows], fontsize=8)
    axes.invert_yaxis()
    _label(axes, "mean request, share of its time", "")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25 %", "50 %", "75 %", "100 %"])
    known = [name for name in PARTS if any(name in dict(bar.parts) for bar in rows)]
    axes.legend(
        handles=[Patch(color=PALETTE[name], label=PARTS[name]) for name in known],
        ncols=len(PARTS), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, labelcolor=PALETTE["ink"],
    )  # fmt: skip


def _draw_bar(axes: Axes, place: int, bar: Bar) -> None:
    """One bar of shares, so that fast and slow sizes can be read alike; the whole in ms stands behind it."""
    whole = sum(ms for _, ms in bar.parts)
    left = 0.0
    for name, ms in bar.parts:
        axes.barh(place, ms / whole, left=left, color=PALETTE[name], height=0.72, linewidth=0)
        left += ms / whole
    axes.text(1.01, place, f"{formatting.significant(whole)} ms", va="center", fontsize=8, color=PALETTE["ink"])


def _label(axes: Axes, below: str, left: str) -> None:
    axes.set_xlabel(below, color=PALETTE["quiet"])
    axes.set_ylabel(left, color=PALETTE["quiet"])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=PALETTE["ink"])


def _plain_numbers(axes: Axes) -> None:
    """Plain numbers at the left: a log axis without powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if high > MANY_DECADES * low else (1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.tick(value)))
    axes.yaxis.set_minor_locator(LogLocator(subs=()))


def styles_of(record: RunRecord) -> Styles:
    """Colour on white paper and marker of each target, by its place; after the last they begin anew."""
    looks = itertools.cycle((PALETTE[role], marker) for role, marker in LOOKS.items())
    return {target.server: look for target, look in zip(record.targets, looks, strict=False)}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _style(salt: str) -> AbstractContextManager[None]:
    """matplotlib's settings for one drawing; ``salt`` makes the ids of a picture its own, and the same each time."""
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.edgecolor": PALETTE["grid"],
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": PALETTE["grid"],
            "grid.linewidth": 0.6,
            "xtick.color": PALETTE["grid"],
            "ytick.color": PALETTE["grid"],
            "xtick.labelcolor": PALETTE["quiet"],
            "ytick.labelcolor": PALETTE["quiet"],
        }
    )


def _saved(figure: Figure, kind: str, *, transparent: bool) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150, transparent=transparent, metadata=_NO_DATE if kind == "svg" else {})
    return content.getvalue()
