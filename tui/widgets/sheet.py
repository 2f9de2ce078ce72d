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
    Line,
    Span,
    cut_line,
    left,
    line_width,
    narrowest,
    on_the_point,
    right,
    server_glyph,
    with_role,
    wrap,
)

GAP = "  "
GUTTER = 2
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
    RowState.WAITING: "faint",
    RowState.PARTIAL: "quiet",
}
RATIO, INTERVAL = "rate", "95 % CI"
SIDES = ("tf-serving", "flask")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A column on the screen: its heading's lines, its width, its texts; ``texts`` is empty for the bar."""

    label: str
    heading: tuple[str, ...]
    width: int
    numeric: bool
    texts: tuple[str, ...] = ()
    role: str = ""

    @property
    def gap(self) -> str:
        """The blanks behind it."""
        return {"#": " ", "verdict": ""}.get(self.label, GAP)


def sheet_lines(
    table: Table, width: int, *, cursor: int | None = None, rows: range | None = None, mixed: bool = False
) -> list[Line]:
    """Heading and rows of ``table`` in ``width`` columns; ``rows`` limits which, ``cursor`` is the selected one.

    ``mixed``: the rows have different units, so that neither bars nor a common decimal point make sense.
    """
    places = places_of(table, width, mixed=mixed)
    top = bar_top(table.rows)
    deep = max((len(place.heading) for place in places), default=1)
    lines = [with_role(_heading_line(places, number, deep, width), "heading") for number in range(deep)]
    for number in rows if rows is not None else range(len(table.rows)):
        spans = _row_line(places, table.rows[number], number, top, selected=number == cursor)
        spans = cut_line((*spans, Span(" " * (width - line_width(spans)))), width)
        lines.append(with_role(spans, "cursor") if number == cursor else spans)
    return lines


def heading_depth(table: Table, width: int) -> int:
    """How many lines the headings take."""
    return max((len(place.heading) for place in places_of(table, width)), default=1)


def places_of(table: Table, width: int, *, mixed: bool = False) -> list[Place]:
    """The columns with their widths.

    Headings wrap, then the last column says less (the details say the rest), and at last numbers of very different
    size give up their common decimal point, until all columns and the bar fit.
    """
    wants_bar = not mixed and any(column.label == RATIO for column in table.columns)
    needed = BAR_LEAST + len(GAP) if wants_bar else 0
    for ragged, brevity, deep in itertools.product((mixed, True), range(3), (1, 2, 3, 4)):
        places = [_place(table, number, deep, brevity, ragged=ragged) for number in range(len(table.columns))]
        spare = width - GUTTER - sum(place.width + len(place.gap) for place in places)
        if spare >= needed:
            break
    if not wants_bar or spare < needed:
        return _squeezed(places, spare)
    bar_width = min(BAR_MOST, spare - len(GAP))
    heading = scale_text(bar_top(table.rows), bar_width)
    bar = Place(label=BAR, heading=(heading,), width=bar_width, numeric=False, role="quiet")
    return [*places[:-1], bar, places[-1]]


def briefer(text: str, brevity: int) -> str:
    """A verdict in fewer words: 0 all of it, 1 an exclamation mark for its flags, 2 the first clause alone."""
    if brevity == 0:
        return text
    words = re.sub(r"( \[[A-Z-]+\])+", " !", text)
    return words if brevity == 1 else re.sub(r"[,;][^!]*(?= !|$)", "", words)


def bar_top(rows: Sequence[Row]) -> float:
    """The right end of all bars of a table: 1, or the next whole number above the largest ratio, at most 5."""
    highest = max((row.ratio for row in rows if row.ratio is not None), default=1.0)
    return min(TOP_MOST, float(math.ceil(max(1.0, highest) - 1e-9)))


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


def _place(table: Table, number: int, deep: int, brevity: int, *, ragged: bool) -> Place:
    column = table.columns[number]
    is_last = number == len(table.columns) - 1
    texts = [briefer(row.cells[number], brevity) if is_last else row.cells[number] for row in table.rows]
    shown = on_the_point(texts) if column.numeric and not ragged else texts
    side = _side(table, number)
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
        role=side,
    )


def _side(table: Table, number: int) -> str:
    """The server whose numbers column ``number`` holds: the two columns before the ratio; empty for others."""
    labels = [column.label for column in table.columns]
    behind = labels.index(RATIO) - number if RATIO in labels else 0
    return SIDES[-behind] if behind in (1, 2) else ""


def _squeezed(places: list[Place], spare: int) -> list[Place]:
    """The places without a bar; the last one gives way, or takes what is left."""
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
            text = "" if row.ratio is None else bar(row.ratio, top, place.width)
        else:
            text = place.texts[number]
        shown = (right if place.numeric else left)(text, place.width) + place.gap
        spans.append(Span(shown, _cell_role(place, row)))
    return tuple(spans)


def _cell_role(place: Place, row: Row) -> str:
    state = STATE_ROLES[row.state]
    if place.label == RATIO:
        return f"strong {state}"
    if place.label in {BAR, "verdict"}:
        return state
    if place.label == INTERVAL:
        return "quiet"
    return "faint" if row.state is RowState.WAITING else ""
