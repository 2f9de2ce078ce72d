"""What is known about the selected row: all its metrics, where the time went, the tail, failures and flags."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec
from textual.geometry import Size

from serving_ctl import formatting
from serving_ctl.events import CellFinished, Failure, Ladder, Part, Target
from serving_ctl.results.details import sent_to
from serving_ctl.results.metrics import LADDER_METRICS
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import FLAG_MEANINGS, SIZE_LABELS, Column, Table, ratio_table
from tui.drawing import Line, Span, cut_line, flow, left, line, on_the_point, right, server_glyph, server_role, wrap
from tui.widgets.drawn import Drawn
from tui.widgets.sheet import GAP, INTERVAL, RATIO, VERDICT, sheet_lines

PART_FILLS = {"connect": "░", "network": "▒", "json": "▓", "queue": "▚", "graph": "█"}
NAME_COLUMNS, BAR_MOST = 13, 60


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The selected row: the size of a ladder, or the full text of a failure."""

    record: RunRecord
    ladder: Ladder | None = None
    size: int = 0
    text: str = ""


def detail_lines(choice: Choice, width: int) -> list[Line]:
    """All about the choice."""
    if choice.ladder is None:
        return [line(part) for part in wrap(choice.text, width)]
    done = {
        target.server: choice.record.finished(choice.ladder.name, choice.size, target.server)
        for target in choice.record.targets
    }
    sides = tuple(target.server for target in choice.record.targets)
    noun = SIZE_LABELS[choice.ladder.kind]
    title = f"{noun} {formatting.count(choice.size)}"
    if not any(done.values()):
        waits = " is not measured yet; its details appear here as its cells finish."
        if choice.record.end is not None:
            waits = " was not measured."
        return [line(Span(title, "strong"), Span(waits, "quiet"))]
    lines = [
        *sheet_lines(metrics_table(choice.record, choice.ladder, choice.size, title), width, sides=sides, mixed=True),
        *waterfall_lines(choice.record.targets, done, width),
        *(spans for target in choice.record.targets for spans in _tail(target, done[target.server], width)),
    ]
    return [cut_line(spans, width) for spans in lines]


def metrics_table(record: RunRecord, ladder: Ladder, size: int, title: str) -> Table:
    """The row of ``size`` from every table of its ladder: one line a metric."""
    place = ladder.sizes.index(size)
    metrics = LADDER_METRICS[ladder.kind]
    tables = [ratio_table(record, ladder, metric) for metric in metrics]
    rows = tuple(
        msgspec.structs.replace(
            table.rows[place], cells=(f"{metric.label}, {metric.unit}", *table.rows[place].cells[2:])
        )
        for metric, table in zip(metrics, tables, strict=True)
    )
    names = (Column(label=target.name) for target in record.targets)
    columns = (
        column if column.label in {RATIO, INTERVAL, VERDICT} else next(names) for column in tables[0].columns[2:]
    )
    return Table(title="", columns=(Column(label=title, numeric=False), *columns), rows=rows)


def waterfall_lines(targets: Sequence[Target], done: dict[str, tuple[CellFinished, ...]], width: int) -> list[Line]:
    """Both servers' parts of the mean request as bars on one scale, each with its legend; none without parts."""
    means = {target.server: mean_parts(done[target.server]) for target in targets}
    longest = max((sum(part.ms for part in parts) for parts in means.values()), default=0.0)
    if longest <= 0:
        return []
    names = [name for name in PART_FILLS if any(part.name == name for parts in means.values() for part in parts)]
    columns = _part_columns(names, list(means.values()))
    room = max(4, min(BAR_MOST, width - NAME_COLUMNS - sum(len(column[0]) for column in columns)))
    heading = left("mean request, ms", room + NAME_COLUMNS) + "".join(column[0] for column in columns)
    bars = [_waterfall_bar(means[target.server], names, room / longest) for target in targets]
    return [
        line(Span(heading, "quiet")),
        *(
            line(
                Span(left(f"{server_glyph(target.server)} {target.name}", NAME_COLUMNS), server_role(target.server)),
                Span(left(bar, room), server_role(target.server)),
                "".join(column[number] for column in columns),
            )
            for number, (target, bar) in enumerate(zip(targets, bars, strict=True), 1)
        ),
    ]


def mean_parts(cells: Sequence[CellFinished]) -> tuple[Part, ...]:
    """Each part's mean over the rounds that have it, in the order of the first."""
    found: dict[str, list[Part]] = {}
    for cell in cells:
        for part in cell.parts:
            found.setdefault(part.name, []).append(part)
    return tuple(
        Part(
            name=name,
            ms=sum(part.ms for part in parts) / len(parts),
            plus_minus_ms=max(part.plus_minus_ms for part in parts),
        )
        for name, parts in found.items()
    )


def _waterfall_bar(parts: Sequence[Part], names: Sequence[str], columns_per_ms: float) -> str:
    """One server's parts in their fills, one after the other."""
    found = {part.name: part for part in parts}
    ends = [round(end * columns_per_ms) for end in accumulate(found[name].ms for name in names if name in found)]
    fills = [PART_FILLS[name] for name in names if name in found]
    return "".join(fill * (end - begin) for fill, begin, end in zip(fills, [0, *ends], ends, strict=False))


def _part_columns(names: Sequence[str], means: Sequence[Sequence[Part]]) -> list[list[str]]:
    """A column for each part and for the sum, heading first: its numbers on their point, a dash for what is missing."""
    found = [{part.name: part for part in parts} for parts in means]
    columns = [(f"{PART_FILLS[name]} {name}", [_part_text(parts.get(name)) for parts in found]) for name in names]
    sums = [formatting.significant(sum(part.ms for part in parts) if parts else None) for parts in means]
    pointed = [(heading, on_the_point(texts)) for heading, texts in (*columns, ("sum", sums))]
    return [
        [right(text, len(max((heading, *texts), key=len)) + len(GAP)) for text in (heading, *texts)]
        for heading, texts in pointed
    ]


def _part_text(part: Part | None) -> str:
    """A part, or a dash where there is none or it is smaller than the resolution of its source (R20)."""
    is_there = part is not None and part.ms > 0 and part.ms >= part.plus_minus_ms
    return formatting.significant(part.ms if part and is_there else None)


def _tail(target: Target, cells: Sequence[CellFinished], width: int) -> list[Line]:
    """Quantiles of the newest round, the connect, the rate; then failures and flags of all rounds."""
    if not cells:
        return []
    newest = cells[-1]
    numbers = [
        ("p90", newest.request.p90_ms),
        ("p99", newest.request.p99_ms),
        ("max", newest.request.max_ms),
    ]
    if not newest.parts:
        numbers.append(("connect p50", newest.connect.p50_ms))
    if newest.client_floor_ms is not None:
        numbers.append(("client's own floor", newest.client_floor_ms))
    pieces = [line(Span(f"{server_glyph(target.server)} {target.name}", server_role(target.server)))]
    pieces += [line(Span(f"{name} ", "quiet"), formatting.significant(value)) for name, value in numbers]
    rate = formatting.significant(newest.throughput_rps or None)
    where = f"(round {newest.cell.round}, n = {formatting.count(newest.request.n)})"
    pieces += [line(rate, Span(" req/s", "quiet")), line(Span(where, "quiet"))]
    return [*flow(pieces, width, gap=2), *_remarks(cells, width)]


def _remarks(cells: Sequence[CellFinished], width: int) -> list[Line]:
    """Failures by kind, skipped rounds, flags with their meaning, and who answered of several addresses."""
    failures: dict[str, list[tuple[int, Failure]]] = {}
    for cell in cells:
        for failure in cell.failures:
            failures.setdefault(failure.kind, []).append((cell.cell.round, failure))
    texts = [(_failure_text(kind, found), "worse") for kind, found in failures.items()]
    texts += [(f"✗ round {cell.cell.round}: skipped, {cell.skipped}", "warn") for cell in cells if cell.skipped]
    flags = sorted({flag for cell in cells for flag in cell.flags})
    texts += [(f"! {flag}: {FLAG_MEANINGS.get(flag, 'see the recording')}", "warn") for flag in flags]
    sent = sent_to(cells)
    if sent:
        shares = ", ".join(f"{url.removeprefix('http://')} {formatting.count(n)}" for url, n in sent.items())
        texts.append((f"requests by address, all rounds: {shares}", "quiet"))
    return [(Span(part, role),) for text, role in texts for part in wrap(text, width)[:2]]


def _failure_text(kind: str, found: Sequence[tuple[int, Failure]]) -> str:
    """All failures of one kind in one sentence, with the first example."""
    rounds = [number for number, _ in found]
    where = f"round {rounds[0]}" if len(rounds) == 1 else f"{len(rounds)} rounds"
    count = formatting.count(sum(failure.count for _, failure in found))
    return f"✗ {where}: {count} × {kind}: {found[0][1].example}"


class RowDetails(Drawn):
    """The details of one row."""

    DEFAULT_CSS = """
    RowDetails { height: auto; max-height: 12; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__(id="row-details")
        self._choice: Choice | None = None

    def show_choice(self, choice: Choice | None) -> None:
        """Show another row, or the same one with more finished cells."""
        if choice != self._choice:
            self._choice = choice
            self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """The details, and how many lines of them have no room."""
        lines = detail_lines(self._choice, size.width) if self._choice else []
        if not size.height or len(lines) <= size.height:
            return lines
        hidden = formatting.plural(len(lines) - size.height + 1, "more line")
        return [*lines[: size.height - 1], line(Span(f"… {hidden}; the export has all", "quiet"))]
