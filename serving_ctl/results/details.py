"""Tables that explain the ratios: percentiles, where the time went, what the servers used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from serving_ctl import formatting
from serving_ctl.events import CellFinished, Ladder, Target
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import SIZE_LABELS, Column, Row, Table
from serving_ctl.stats.latency import Counts, merge, shown_quantile_ms

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999))
LOADS = {"rate-limit": "requests/s", "client-limit": "clients"}
"""The unit of the load that each kind of search varies."""
PARTS = {
    "connect": "connect",
    "network": "network, waiting",
    "json": "JSON",
    "queue": "session, queue",
    "graph": "graph",
}
"""Parts of a request's mean time (R20, R21) as tables and charts head them."""


def detail_tables(record: RunRecord) -> tuple[Table, ...]:
    """For each ladder the percentiles, the time split and the resources (of a search its steps), as far as measured."""
    tables = [
        make(record, ladder)
        for ladder in record.started.ladders
        for make in (*_own_tables(ladder), origin_table, address_table)
    ]
    return tuple(table for table in tables if any(_filled(row) for row in table.rows))


def _own_tables(ladder: Ladder) -> tuple[Callable[[RunRecord, Ladder], Table], ...]:
    return (steps_table,) if ladder.kind in LOADS else (percentile_table, split_table, resource_table)


def percentile_table(record: RunRecord, ladder: Ladder) -> Table:
    """Request-time percentiles of all rounds together, as far as R15 shows them."""
    rows = [
        (size, target, counts_of(record.finished(ladder.name, size, target.server)))
        for size in ladder.sizes
        for target in record.targets
    ]
    return Table(
        title=f"{ladder.name}: percentiles of the request time",
        columns=(
            *_head(ladder),
            Column(label="requests"),
            *(Column(label=label, unit="ms") for label in (*dict(QUANTILES), "max")),
        ),
        rows=tuple(
            Row(
                cells=(
                    *(formatting.count(size), target.name, formatting.count(counts.n)),
                    *(formatting.significant(shown_quantile_ms(counts, p)) for _, p in QUANTILES),
                    formatting.significant(counts.max_us / 1000 if counts.n else None),
                )
            )
            for size, target, counts in rows
        ),
        notes=("Over the requests of all rounds; a percentile that so few requests cannot tell is blank.",),
    )


def steps_table(record: RunRecord, ladder: Ladder) -> Table:
    """Every load that a search tried, in the order it was measured."""
    names = {target.server: target.name for target in record.targets}
    found = [(cell, step) for cell in record.cells if cell.cell.ladder == ladder.name for step in cell.steps]
    return Table(
        title=f"{ladder.name}: steps of the search",
        columns=(
            *_head(ladder),
            Column(label="round"),
            Column(label="load", unit=LOADS[ladder.kind]),
            Column(label="p99", unit="ms"),
            Column(label="answered", unit="requests/s"),
            Column(label="requests"),
            Column(label="errors"),
            Column(label="verdict", numeric=False),
        ),
        rows=tuple(
            Row(
                cells=(
                    *(formatting.count(cell.cell.size), names[cell.cell.server], formatting.count(cell.cell.round)),
                    formatting.count(round(step.load)),
                    *(formatting.significant(value) for value in (step.p99_ms, step.throughput_rps)),
                    *(formatting.count(step.requests), formatting.count(step.errors), step.verdict),
                )
            )
            for cell, step in found
        ),
        notes=("A step holds when p99 is under the limit, fewer than 0.1 % fail, and it is stable.",),
    )


def split_table(record: RunRecord, ladder: Ladder) -> Table:
    """Where the mean request's time went, on both servers (R20, R21)."""
    return Table(
        title=f"{ladder.name}: where the time went",
        columns=(*_head(ladder), *(Column(label=label, unit="ms") for label in PARTS.values())),
        rows=_rows(
            record,
            ladder,
            lambda cells: [formatting.significant(value) for value in mean_parts(cells).values()],
        ),
        notes=(
            "Means over the rounds. JSON, queue and graph are what the server says of itself: TensorFlow Serving's "
            "counters, Server-Timing of the others; blank where it says none of it.",
        ),
    )


def resource_table(record: RunRecord, ladder: Ladder) -> Table:
    """CPU time a request and the most memory seen, of each server's processes together."""
    return Table(
        title=f"{ladder.name}: what the servers used",
        columns=(
            *_head(ladder),
            Column(label="CPU a request", unit="ms"),
            Column(label="memory", unit="MB"),
            Column(label="load process", unit="% of a core"),
        ),
        rows=_rows(record, ladder, _resources),
        notes=("Means over the rounds, memory the most seen. An external server's processes cannot be seen.",),
    )


def origin_table(record: RunRecord, ladder: Ladder) -> Table:
    """From how many workers of a cluster the load came, and how far apart they began."""
    return Table(
        title=f"{ladder.name}: where the load came from",
        columns=(
            *_head(ladder),
            Column(label="workers"),
            Column(label="hosts"),
            Column(label="lost"),
            Column(label="start skew", unit="ms"),
            Column(label="known within", unit="± ms"),
            Column(label="clocks off", unit="ms"),
        ),
        rows=_rows(record, ladder, _origins),
        notes=("Over the rounds: the fewest workers and hosts, the most of all else. Times depend on no wall clock.",),
    )


def address_table(record: RunRecord, ladder: Ladder) -> Table:
    """How many requests each address of a server that has several was sent."""
    return Table(
        title=f"{ladder.name}: requests by address",
        columns=(*_head(ladder), Column(label="address", numeric=False), Column(label="requests")),
        rows=tuple(
            Row(cells=(formatting.count(size), target.name, address, formatting.count(requests)))
            for size in ladder.sizes
            for target in record.targets
            for address, requests in sent_to(record.finished(ladder.name, size, target.server)).items()
        ),
        notes=("Sent in the windows of all rounds, answered or not.",),
    )


def sent_to(cells: Iterable[CellFinished]) -> dict[str, int]:
    """The requests of several rounds by address; empty for a server that has one."""
    found: dict[str, int] = {}
    for cell in cells:
        for address, requests in cell.addresses.items():
            found[address] = found.get(address, 0) + requests
    return found


def mean_parts(cells: Iterable[CellFinished]) -> dict[str, float | None]:
    """Each part's mean in ms over the rounds that have it, in the order of ``PARTS``."""
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for part in (part for cell in cells for part in cell.parts):
        found[part.name].append(part.ms)
    return {name: _mean(values) for name, values in found.items()}


def counts_of(cells: Iterable[CellFinished]) -> Counts:
    """The request times of several rounds as one histogram, exact minimum and maximum kept."""
    return merge(*(_counts(cell) for cell in cells if cell.histogram))


def cpu_ms(cell: CellFinished) -> float | None:
    """CPU milliseconds of the server for one answered request; None when not known."""
    if cell.server_cpu_s is None or not cell.requests:
        return None
    burst = cell.cell.size if cell.makespan_s is not None else 0
    return 1000 * cell.server_cpu_s / (cell.requests + burst)


def _counts(cell: CellFinished) -> Counts:
    index, count = zip(*cell.histogram, strict=True)
    times = cell.request
    return Counts(
        index=index,
        count=count,
        min_us=1000 * (times.min_ms or 0.0),
        max_us=1000 * (times.max_ms or 0.0),
        sum_us=1000 * (times.mean_ms or 0.0) * times.n,
    )


def _origins(cells: Sequence[CellFinished]) -> list[str]:
    origins = [cell.origin for cell in cells if cell.origin is not None]
    if not origins:
        return [formatting.MISSING] * 6
    skews = [origin.start_skew_ms for origin in origins if origin.start_skew_ms is not None]
    return [
        formatting.count(min(origin.workers for origin in origins)),
        formatting.count(min(origin.hosts for origin in origins)),
        formatting.count(max(origin.lost for origin in origins)),
        formatting.significant(max(skews, default=None)),
        formatting.significant(max(origin.offset_error_ms for origin in origins)),
        formatting.significant(max(abs(origin.clock_offset_ms) for origin in origins)),
    ]


def _resources(cells: Sequence[CellFinished]) -> list[str]:
    measured = [cell for cell in cells if cell.requests]
    spent = [value for cell in measured if (value := cpu_ms(cell)) is not None]
    memory = max((cell.server_memory_mb for cell in measured if cell.server_memory_mb is not None), default=None)
    if not spent and memory is None:
        return [formatting.MISSING] * 3
    client = _mean([cell.client_cpu_percent for cell in measured])
    return [formatting.significant(value) for value in (_mean(spent), memory, client)]


def _head(ladder: Ladder) -> tuple[Column, Column]:
    return Column(label=SIZE_LABELS[ladder.kind]), Column(label="server", numeric=False)


def _rows(record: RunRecord, ladder: Ladder, values: Callable[[Sequence[CellFinished]], list[str]]) -> tuple[Row, ...]:
    def row(size: int, target: Target) -> Row:
        cells = record.finished(ladder.name, size, target.server)
        return Row(cells=(formatting.count(size), target.name, *values(cells)))

    return tuple(row(size, target) for size in ladder.sizes for target in record.targets)


def _filled(row: Row) -> bool:
    return any(cell not in {formatting.MISSING, "0"} for cell in row.cells[2:])


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
