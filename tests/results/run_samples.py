"""Hand-made runs: the events that a run would have sent. The tests of the UI build their recordings of these too."""

from __future__ import annotations

import msgspec

from serving_ctl.events import (
    Cell,
    CellFinished,
    CellStarted,
    Event,
    Fact,
    Failure,
    Ladder,
    Latency,
    Part,
    RunFailed,
    RunFinished,
    RunStarted,
    Step,
    Target,
)
from serving_ctl.results.record import RunRecord, fold_record

TF, FLASK = "tf-serving", "flask"
BATCH = Ladder(name="batch-small", kind="batch", sizes=(1, 2, 4, 8))
CLIENTS = Ladder(name="concurrency", kind="concurrency", sizes=(1, 10, 1000))
EMBEDDED = Target(
    server=TF,
    name="embedded",
    label="embedded (TF-Serving-compatible)",
    version="2.21.0",
    url="http://127.0.0.1:8501",
    cold_ms=12.5,
)
DOCKER = Target(server=TF, name=TF, label="tf-serving docker", version="2.20.0", url="http://127.0.0.1:8501")
GUNICORN = Target(
    server=FLASK, name=FLASK, label="flask gunicorn 4 × sync", version="27.0.0", url="http://127.0.0.1:7123"
)
EU, US, AP = (
    Target(server=name, name=name, label=f"{name} external", version="?", url=f"http://{name}.example:8501")
    for name in ("eu", "us", "ap")
)
FACTS = (
    Fact(key="keep-alive", mark="warn", short="flask reconnects", text="gunicorn's sync worker closes each time"),
    Fact(key="predictions", mark="ok", short="predictions agree", text="agree on 5 sampled requests"),
    Fact(key="machine", mark="info", short="CPU", text="A | B <CPU> @ 2.5 GHz"),
)


def started(
    *ladders: Ladder, first: Target = EMBEDDED, others: tuple[Target, ...] = (GUNICORN,), rounds: int = 4
) -> RunStarted:
    return RunStarted(
        run_id="20260102-030405-ab12",
        started_at="2026-01-02T03:04:05+00:00",
        tool_version="0.1.0",
        preset="batch-small",
        title="Batch test, 1 to 8",
        profile="quick",
        rounds=rounds,
        ladders=ladders,
        targets=(first, *others),
        facts=FACTS,
        model="text_cnn v1",
        signature="text",
        seed=0,
        expected_s=42.0,
    )


def cell(server: str, ladder: Ladder, size: int, number: int, p50: float | None = None, **fields) -> CellFinished:
    """A measured cell of 400 requests; without ``p50`` one in which nothing was answered."""
    times = Latency(n=400, mean_ms=p50 * 1.1, p50_ms=p50) if p50 else Latency(n=0)
    service = Latency(n=400, mean_ms=p50 * 1.05, p50_ms=p50 * 0.9) if p50 else Latency(n=0)
    measured = {"requests": 400, "throughput_rps": 1000 / p50, "request": times, "service": service} if p50 else {}
    where = Cell(ladder=ladder.name, size=size, server=server, round=number)
    return CellFinished(cell=where, duration_s=1.0, **{**measured, **fields})


def skipped(server: str, ladder: Ladder, size: int) -> CellFinished:
    return CellFinished(cell=Cell(ladder=ladder.name, size=size, server=server, round=1), skipped="saturated")


def failures(count: int, kind: str = "5xx", example: str = "503: busy") -> tuple[Failure, ...]:
    return (Failure(kind=kind, count=count, example=example),)


def parts(graph: float, queue: float = 0.0) -> tuple[Part, ...]:
    found = (Part(name="json", ms=0.2), Part(name="queue", ms=queue), Part(name="graph", ms=graph))
    return tuple(part for part in found if part.ms)


def pair(ladder: Ladder, size: int, number: int, first: float, second: float, **fields) -> list[CellFinished]:
    return [cell(TF, ladder, size, number, first, **fields), cell(FLASK, ladder, size, number, second, **fields)]


def record(*events: Event, of: RunStarted) -> RunRecord:
    return fold_record([of, *events], "a test")


def ended(whole: RunStarted) -> RunFinished:
    return RunFinished(run_id=whole.run_id, duration_s=61.0)


def cut_short(whole: RunStarted, reason: str = "flask stopped in the middle of the run: killed.") -> RunFailed:
    return RunFailed(run_id=whole.run_id, duration_s=30.0, reason=reason)


def every_kind_of_row() -> RunRecord:
    """A finished run with a winner, a tie, an undecided and a failed row, flags, saturation and failed requests."""
    run = started(BATCH, CLIENTS)
    events: list[Event] = []
    noise = (0.97, 1.02, 1.01, 0.99)
    for number, factor in enumerate(noise, 1):
        events += pair(BATCH, 1, number, 1.25 * factor, 2.95 * factor, parts=parts(0.9, 0.1))
        events += pair(BATCH, 2, number, 2.0, 2.0 * (1 + 0.004 * (-1) ** number), parts=parts(0.8))
    for number, factor in enumerate((0.7, 1.3, 0.8, 1.4), 1):
        events += [
            cell(TF, BATCH, 4, number, 3.0 * factor, parts=parts(1.5), flags=("UNSTABLE",) if number == 2 else ()),
            cell(FLASK, BATCH, 4, number, 3.1, parts=parts(1.2), failures=failures(3) if number == 3 else ()),
        ]
        events += [
            cell(TF, BATCH, 8, number, 5.0),
            cell(FLASK, BATCH, 8, number, failures=failures(40, "reset", "connection reset | by <peer>\nat once")),
        ]
        events += pair(CLIENTS, 1, number, 1.3, 2.9, makespan_s=0.5 * factor, parts=parts(0.9))
        events += [
            cell(TF, CLIENTS, 10, number, 6.0, makespan_s=0.02),
            *([cell(FLASK, CLIENTS, 10, 1, failures=failures(400, "read timeout"))] if number == 1 else []),
        ]
    events += [skipped(TF, CLIENTS, 1000), skipped(FLASK, CLIENTS, 1000)]
    return record(*events, ended(run), of=run)


def three_targets() -> RunRecord:
    """A finished run of three: rates of all kinds beside each other, one of them over fewer rounds."""
    run = started(BATCH, first=EU, others=(US, AP))
    events: list[Event] = []
    for number, factor in enumerate((0.97, 1.02, 1.01, 0.99), 1):
        events += [cell("eu", BATCH, 1, number, 1.0 * factor, parts=parts(0.8, 0.1))]
        events += [cell("us", BATCH, 1, number, 2.0 * factor, parts=parts(1.1), server_cpu_s=0.4)]
        told = Latency(n=400, mean_ms=factor, p50_ms=factor, min_ms=0.9, max_ms=1.2)
        events += [cell("ap", BATCH, 1, number, factor, request=told, histogram=((1000, 400),))]
        events += [cell("eu", BATCH, 2, number, 3.0), cell("ap", BATCH, 2, number, 2.0, flags=("UNSTABLE",))]
        events += [cell("us", BATCH, 2, number, failures=failures(9))]
        events += [cell("eu", BATCH, 4, number, 4.0 * factor), cell("us", BATCH, 4, number, 4.0)]
        events += [cell("ap", BATCH, 4, number, 8.0)] if number < 3 else []
    return record(*events, ended(run), of=run)


def only_two(whole: RunRecord, other: Target) -> RunRecord:
    """The same run as if only its first target and ``other`` had been measured."""
    pair_of = (whole.targets[0], other)
    kept = {target.server for target in pair_of}
    current = whole.current if whole.current and whole.current.server in kept else None
    cells = tuple(cell for cell in whole.cells if cell.cell.server in kept)
    run = msgspec.structs.replace(whole.started, targets=pair_of)
    return msgspec.structs.replace(whole, started=run, cells=cells, current=current)


def measuring() -> RunRecord:
    """A run in its second round: one row measured once, one in flight, two waiting."""
    run = started(BATCH)
    in_flight = CellStarted(cell=Cell(ladder=BATCH.name, size=2, server=FLASK, round=1), number=4, total=32, left_s=9)
    return record(*pair(BATCH, 1, 1, 1.0, 2.0), cell(TF, BATCH, 2, 1, 1.5), in_flight, of=run)


def relabelled(whole: RunRecord, first: Target) -> RunRecord:
    """The same run with another first server."""
    run = msgspec.structs.replace(whole.started, targets=(first, GUNICORN))
    return msgspec.structs.replace(whole, started=run)


def only_errors() -> RunRecord:
    run = started(BATCH)
    cells = [cell(s, BATCH, n, 1, failures=failures(9)) for n in BATCH.sizes for s in (TF, FLASK)]
    return record(*cells, ended(run), of=run)


def odd_numbers() -> RunRecord:
    """Values that are no numbers, ratios without end, times of zero."""
    run = started(BATCH)
    nan = {"request": Latency(n=400, p50_ms=float("nan"), mean_ms=float("nan"))}
    return record(
        *pair(BATCH, 1, 1, 1e-9, 1e9),
        *pair(BATCH, 1, 2, 1e-9, 1e9),
        cell(TF, BATCH, 2, 1, 1.0, **nan),
        cell(FLASK, BATCH, 2, 1, 1.0),
        cell(TF, BATCH, 4, 1, 1.0, request=Latency(n=400, p50_ms=float("inf"))),
        cell(FLASK, BATCH, 4, 1, 1.0, request=Latency(n=400, p50_ms=0.0)),
        ended(run),
        of=run,
    )


def a_search() -> RunRecord:
    """Two searches: one that found its limit, one that never held."""
    rate = Ladder(name="rate", kind="rate-limit", sizes=(20,))
    run = started(rate, rounds=2)
    held = Step(load=512.0, verdict="held", p99_ms=4.0, throughput_rps=511.0, requests=3000, errors=0)
    above = Step(load=1024.0, verdict="p99 above the limit", p99_ms=40.0, throughput_rps=900.0, requests=3000, errors=1)
    cells = [cell(TF, rate, 20, n, 1.0, limit=512.0, steps=(held, above)) for n in (1, 2)]
    never = cell(FLASK, rate, 20, 1, flags=("OVER-LIMIT",), steps=(above,))
    return record(*cells, never, ended(run), of=run)


def nothing() -> RunRecord:
    return record(of=started(BATCH, CLIENTS))


def died() -> RunRecord:
    run = started(BATCH, CLIENTS)
    return record(*pair(BATCH, 1, 1, 1.0, 2.0), skipped(TF, CLIENTS, 1), cut_short(run), of=run)


def few_requests() -> RunRecord:
    run = started(BATCH, rounds=2)
    few = {"requests": 3, "request": Latency(n=3, mean_ms=1.0, min_ms=0.9, max_ms=1.2), "histogram": ((900, 3),)}
    return record(*[cell(s, BATCH, 1, n, 1.0, **few) for n in (1, 2) for s in (TF, FLASK)], ended(run), of=run)


EVERY_RUN_OF_TWO = {
    "every row": every_kind_of_row,
    "measuring": measuring,
    "only errors": only_errors,
    "odd numbers": odd_numbers,
    "a search": a_search,
    "nothing": nothing,
    "zero rounds": lambda: record(ended(started(BATCH)), of=started(BATCH, rounds=0)),
    "died": died,
    "few requests": few_requests,
}
"""Whatever a run can go through."""
