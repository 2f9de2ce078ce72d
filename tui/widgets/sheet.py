"""The drawing of a result table, as pure functions: a ``Table`` of strings → lines of spans with a bar for the ratio.

The strings are those every export prints; here they are only given their places.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import msgspec
from rich.cells import cell_len

from serving_ctl import formatting
from serving_ctl.results.tables import Row, RowState, Table
from tui.drawing import (
    KNOWN,
    Line,
    Span,
    cut_line,
    left,
    line_width,
    narrowest,
    on_the_point,
    right,
    server_glyph,
    server_role,
    with_role,
    wrap,
)

GAP = "  "
GUTTER = 2
MORE = "▸"
BAR = "bar"
BAR_LEAST, BAR_MOST = 6, 30
TOP_MOST = 5.0
EIGHTHS = " ▏▎▍▌▋▊▉"
STATE_ROLES = {
    RowState.BETTER: "better",
    RowState.WORSE: "worse",
    RowState.EVEN: "even",
    RowState.MEASURING: "warn",
    RowState.FAILED: "worse",
    RowState.WAITING: "quiet",
    RowState.PARTIAL: "quiet",
}
RATIO, INTERVAL, NUMBER, VERDICT = "rate", "95 % CI", "#", "verdict"
LEFT_OUT: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({BAR}),
    frozenset({BAR, NUMBER}),
    frozenset({BAR, NUMBER, VERDICT}),
    frozenset({BAR, NUMBER, VERDICT, INTERVAL}),
)
"""What a table of more than two servers does without, step by step, where there is no room."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A column on the screen: its heading's lines, its width, its texts; ``texts`` is empty for the bar."""

    label: str
    heading: tuple[str, ...]
    width: int
    numeric: bool
    texts: tuple[str, ...] = ()
    role: str = ""
    rate: int = 0
    """Which of the row's rates it belongs to, counted from 0."""
    is_last: bool = False

    @property
    def gap(self) -> str:
        """The blanks behind it."""
        return "" if self.is_last else " " if self.label == NUMBER else GAP


def sheet_lines(
    table: Table,
    width: int,
    *,
    sides: Sequence[str] = KNOWN,
    cursor: int | None = None,
    rows: range | None = None,
    mixed: bool = False,
) -> list[Line]:
    """Heading and rows of ``table`` in ``width`` columns; ``rows`` limits which, ``cursor`` is the selected one.

    ``sides`` are the servers in the order of their columns. ``mixed``: the rows have different units, so that neither
    bars nor a common decimal point make sense.
    """
    places = places_of(table, width, sides=sides, mixed=mixed)
    top = bar_top(table.rows)
    deep = max((len(place.heading) for place in places), default=1)
    lines = [with_role(_heading_line(places, number, deep, width), "heading") for number in range(deep)]
    for number in rows if rows is not None else range(len(table.rows)):
        spans = _row_line(places, table.rows[number], number, top, selected=number == cursor)
        spans = cut_line((*spans, Span(" " * (width - line_width(spans)))), width)
        lines.append(with_role(spans, "cursor") if number == cursor else spans)
    return lines


def heading_depth(table: Table, width: int, *, sides: Sequence[str] = KNOWN) -> int:
    """How many lines the headings take."""
    return max((len(place.heading) for place in places_of(table, width, sides=sides)), default=1)


def places_of(table: Table, width: int, *, sides: Sequence[str] = KNOWN, mixed: bool = False) -> list[Place]:
    """The columns with their widths.

    Headings wrap, then verdicts say less (the details say the rest), and at last numbers of very different
    size give up their common decimal point, until all columns and a bar for each rate fit; with several rates bars,
    numbers and intervals are left out before that is not enough.
    """
    rates = sum(column.label == RATIO for column in table.columns)
    ways = itertools.product(LEFT_OUT[: 1 if rates < 2 else None], (mixed, True), range(3), (1, 2, 3, 4))
    for left_out, ragged, brevity, deep in ways:
        kept = [number for number, column in enumerate(table.columns) if column.label not in left_out]
        places = [_place(table, number, deep, brevity, sides, ragged=ragged) for number in kept]
        spare = width - GUTTER - sum(place.width + len(place.gap) for place in places)
        bars = 0 if mixed or BAR in left_out else rates
        if spare >= bars * (BAR_LEAST + len(GAP)):
            break
    if not bars or spare < bars * (BAR_LEAST + len(GAP)):
        return _squeezed(places, spare)
    return _with_bars(places, min(BAR_MOST, spare // bars - len(GAP)), bar_top(table.rows), several=rates > 1)


def _with_bars(places: Sequence[Place], width: int, top: float, *, several: bool) -> list[Place]:
    """A bar before the verdict, or with ``several`` rates one behind the interval of each."""
    bar = Place(label=BAR, heading=(scale_text(top, width),), width=width, numeric=False, role="quiet")
    if not several:
        return [*places[:-1], bar, places[-1]]
    found: list[Place] = []
    for place in places:
        found.append(place)
        if place.label == INTERVAL:
            found.append(msgspec.structs.replace(bar, rate=place.rate))
    return found


def briefer(text: str, brevity: int) -> str:
    """A verdict in fewer words: 0 all of it, 1 an exclamation mark for its flags, 2 the first clause alone."""
    if brevity == 0:
        return text
    words = re.sub(r"( \[[A-Z-]+\])+", " !", text)
    return words if brevity == 1 else re.sub(r"[,;][^!]*(?= !|$)", "", words)


def bar_top(rows: Sequence[Row]) -> float:
    """The right end of all bars of a table: 1, or the next whole number above the largest ratio, at most 5."""
    highest = max((ratio for row in rows for ratio, _ in rates_of(row) if ratio is not None), default=1.0)
    return min(TOP_MOST, float(math.ceil(max(1.0, highest) - 1e-9)))


def rates_of(row: Row) -> tuple[tuple[float | None, RowState], ...]:
    """Each rate of a row with its state, in the order of their columns."""
    return tuple((rate.ratio, rate.state) for rate in row.rates) or ((row.ratio, row.state),)


def bar(ratio: float, top: float, width: int) -> str:
    """``ratio`` as a bar of eighths on a scale from 0 to ``top``; ▸ at the end of one that goes further."""
    filled = min(ratio, top) / top * width
    full = int(filled)
    part = EIGHTHS[int((filled - full) * 8)] if full < width else ""
    drawn = "█" * full + part.strip()
    drawn = (drawn or "▏").ljust(width)
    one = round(width / top)
    if top > 1 and one < width and drawn[one] == " ":
        drawn = f"{drawn[:one]}│{drawn[one + 1 :]}"
    return drawn if ratio <= top else f"{drawn[:-1]}▸"


def scale_text(top: float, width: int) -> str:
    """The heading of the bars: 0 at the left, the scale's end at the right, 1 in its place."""
    end = formatting.count(int(top))
    text = list(f"0 {'─' * (width - len(end) - 3)} {end}")
    one = round(width / top)
    if top > 1 and 2 < one < width - 3:
        text[one] = "1"
    return "".join(text)


def _place(table: Table, number: int, deep: int, brevity: int, sides: Sequence[str], *, ragged: bool) -> Place:
    column = table.columns[number]
    is_last = number == len(table.columns) - 1
    says = is_last or column.label == VERDICT
    texts = [briefer(row.cells[number], brevity) if says else row.cells[number] for row in table.rows]
    shown = on_the_point(texts) if column.numeric and not ragged else texts
    side = _side(table, number, sides)
    heading = f"{server_glyph(side)} {column.heading}" if side else column.heading
    widest = max((cell_len(text) for text in shown), default=0)
    least = cell_len(" ".join(heading.split()[:2])) if side else 1
    width = max(widest, narrowest(heading, 1 if column.label == INTERVAL else deep, least))
    return Place(
        label=column.label,
        heading=tuple(wrap(heading, width)),
        width=width,
        numeric=column.numeric,
        texts=tuple(shown),
        role=server_role(side) if side else "",
        is_last=is_last,
        rate=max(0, sum(one.label == RATIO for one in table.columns[: number + 1]) - 1),
    )


def _side(table: Table, number: int, sides: Sequence[str]) -> str:
    """The server whose numbers column ``number`` holds: two before the first rate, one before each further one; empty
    for other columns."""
    rates = [place for place, column in enumerate(table.columns) if column.label == RATIO]
    places = [*(rates[0] - 2 for _ in rates[:1]), *(rate - 1 for rate in rates)]
    return dict(zip(places, sides, strict=False)).get(number, "")


def _squeezed(places: list[Place], spare: int) -> list[Place]:
    """The places without a bar; the last one gives way, or takes what is left. Numbers behind the edge are left out,
    and a mark says so."""
    if spare < 0 and places[-1].numeric:
        kept = places[:-1]
        while kept and (spare := spare + places[len(kept)].width + len(places[len(kept)].gap)) < len(MORE):
            kept = kept[:-1]
        mark = Place(
            label=MORE,
            heading=(MORE,),
            width=len(MORE),
            is_last=True,
            numeric=False,
            texts=(MORE,) * len(places[0].texts),
        )
        return [*kept, mark]
    *others, last = places
    return [*others, msgspec.structs.replace(last, width=max(4, last.width + min(spare, 0)))]


def _heading_line(places: Sequence[Place], number: int, deep: int, width: int) -> Line:
    spans: list[Span] = [Span(" " * GUTTER)]
    for place in places:
        above = deep - len(place.heading)
        text = place.heading[number - above] if number >= above else ""
        spans.append(Span((right if place.numeric else left)(text, place.width) + place.gap, place.role))
    return cut_line((*spans, Span(" " * (width - line_width(tuple(spans))))), width)


def _row_line(places: Sequence[Place], row: Row, number: int, top: float, *, selected: bool) -> Line:
    spans = [Span("▸ " if selected else "  ", "strong")]
    for place in places:
        if place.label == BAR:
            ratio, _ = _rate_of(place, row)
            text = "" if ratio is None else bar(ratio, top, place.width)
        else:
            text = place.texts[number]
        shown = (right if place.numeric else left)(text, place.width) + place.gap
        spans.append(Span(shown, _cell_role(place, row)))
    return tuple(spans)


def _rate_of(place: Place, row: Row) -> tuple[float | None, RowState]:
    """The rate that a column shows, and its state; a row without that many shows its first."""
    rates = rates_of(row)
    return rates[place.rate] if place.rate < len(rates) else rates[0]


def _cell_role(place: Place, row: Row) -> str:
    if place.label == RATIO:
        return f"strong {STATE_ROLES[_rate_of(place, row)[1]]}"
    if place.label in {BAR, VERDICT}:
        return STATE_ROLES[_rate_of(place, row)[1]]
    if place.label == INTERVAL:
        return "quiet"
    return "quiet" if row.state is RowState.WAITING else ""
