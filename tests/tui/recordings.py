"""Recordings for the tests of the UI: a run's events as the engine sends them, with invented, seeded numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
from results import run_samples
from results.run_samples import started

from serving_ctl.bench.plan import server_order
from serving_ctl.events import (
    Cell,
    CellFinished,
    CellStarted,
    CellTick,
    Event,
    Fact,
    Failure,
    Ladder,
    Latency,
    Part,
    RunFailed,
    RunFinished,
    RunStarted,
    ServerChanged,
    ServerSampled,
    ServerState,
    Target,
    encode_event,
)

TICKS = 10
EMBEDDED, DOCKER = run_samples.EMBEDDED, run_samples.DOCKER
FLASK = msgspec.structs.replace(run_samples.GUNICORN, version="27.0.1")
EU, US, AP = run_samples.EU, run_samples.US, run_samples.AP
FACTS = (
    Fact(key="predictions", mark="ok", short="predictions agree (1e-06)", text="agree on 5 sampled requests"),
    Fact(key="model", mark="ok", short="same model 9f3c…a1", text="the same files for both"),
    Fact(key="load", mark="ok", short="load average 0.4", text="load average 0.41 before the run, 2 cores"),
    Fact(key="not TF Serving", mark="warn", short="embedded, not TF Serving", text="the embedded server was measured"),
    Fact(key="keep-alive", mark="warn", short="flask reconnects each time", text="gunicorn's sync worker closes"),
    Fact(key="threads", mark="info", short="TF threads 2/2", text="the same on both"),
    Fact(key="cores", mark="info", short="client shares 2 cores", text="client and servers share 2 cores"),
    Fact(key="batching", mark="info", short="no server-side batching", text="server-side batching off"),
)
SMALL = Ladder(name="batch-small", kind="batch", sizes=tuple(range(1, 11)))
LARGE = Ladder(name="batch-large", kind="batch", sizes=(1, 10, 100, 1000, 10000))
CONCURRENCY = Ladder(name="concurrency", kind="concurrency", sizes=(1, 10, 100, 1000, 10000))


def servers_ready(first: Target = EMBEDDED) -> list[Event]:
    """Both servers come up and are sampled a few times."""
    runtime = "embedded" if first is EMBEDDED else "docker"
    label = first.label if first is EMBEDDED else "docker"
    ready = ServerState.READY
    return [
        ServerChanged(server="tf-serving", state=ServerState.STARTING, runtime=runtime, label=label),
        ServerChanged(server="flask", state=ServerState.STARTING, runtime="gunicorn", label="gunicorn 4 × sync"),
        ServerChanged(
            server="tf-serving", state=ready, runtime=runtime, label=label, url=first.url, version=first.version,
            started_at=1000.0, cold_ms=41.0,
        ),
        ServerChanged(
            server="flask", state=ready, runtime="gunicorn", label="gunicorn 4 × sync", url=FLASK.url,
            version=FLASK.version, started_at=1000.0,
        ),
    ] + [
        sample
        for n in range(14)
        for sample in (
            ServerSampled(server="tf-serving", cpu_percent=20.0 + 6 * n, memory_mb=312, processes=1),
            ServerSampled(server="flask", cpu_percent=110 - 5.0 * n, memory_mb=2048, processes=5),
        )
    ]  # fmt: skip


def three_targets(*ladders: Ladder, **options: Any) -> list[Event]:
    """``recording`` of three endpoints: eu against us, which is slower, and ap, which is not."""
    ready = [
        ServerChanged(
            server=target.server,
            state=ServerState.READY,
            runtime="external",
            label="external",
            url=target.url,
            ours=False,
        )
        for target in (EU, US, AP)
    ]
    events = recording(*ladders, first=EU, others=(US, AP), **options)
    return [*ready, *(event for event in events if not isinstance(event, ServerChanged | ServerSampled))]


def run_started(
    *ladders: Ladder,
    rounds: int = 4,
    first: Target = EMBEDDED,
    others: tuple[Target, ...] = (FLASK,),
    preset: str = "batch-small",
) -> RunStarted:
    """The begin of a run."""
    return msgspec.structs.replace(
        started(*ladders, first=first, others=others, rounds=rounds), run_id="20260102-140231-ab12",
        started_at="2026-01-02T14:02:31+00:00", preset=preset, facts=FACTS, signature="serving_default",
        title="Batch test, 1 to 10" if preset == "batch-small" else "All three tests", expected_s=80.0,
    )  # fmt: skip


def plan_cells(ladders: tuple[Ladder, ...], rounds: int, servers: tuple[str, ...]) -> list[Cell]:
    """Servers in the runner's own order; sizes of later rounds in seeded order (R16)."""
    order = random.Random(0)
    cells = []
    for number in range(1, rounds + 1):
        for ladder in ladders:
            sizes = list(ladder.sizes)
            if number > 1:
                order.shuffle(sizes)
            turns = server_order(servers, number)
            cells += [Cell(ladder=ladder.name, size=n, server=s, round=number) for n in sizes for s in turns]
    return cells


def cell_ms(ladder: Ladder, cell: Cell) -> float:
    """The invented middle of a cell, ms."""
    if ladder.kind == "concurrency":
        base = 1.6 + 0.9 * cell.size
        return base * {"flask": 1.4, "us": 1.2, "ap": 1.01}.get(cell.server, 1.0)
    each = {"flask": (4.4, 0.17), "us": (2.6, 0.12), "ap": (1.82, 0.112)}
    base = each.get(cell.server, (1.8, 0.11))
    return base[0] + base[1] * cell.size


def cell_events(ladder: Ladder, cell: Cell, number: int, total: int, noise: random.Random) -> list[Event]:
    """One cell from its start to its end."""
    middle = cell_ms(ladder, cell) * noise.uniform(0.97, 1.03)
    events: list[Event] = [CellStarted(cell=cell, number=number, total=total, left_s=(total - number + 1) * 1.5)]
    for tick in range(TICKS):
        p50 = middle * noise.uniform(0.93, 1.08) * (1.5 if noise.random() < 0.04 else 1.0)
        events.append(
            CellTick(
                cell=cell, phase="warmup" if tick < 2 else "window", elapsed_s=0.1 * (tick + 1),
                requests=round((tick + 1) * 100 / middle), errors=0, p50_ms=p50, max_ms=p50 * 1.4,
                throughput_rps=1000 / middle,
            )
        )  # fmt: skip
    return [*events, cell_finished(ladder, cell, middle)]


def cell_finished(ladder: Ladder, cell: Cell, middle: float) -> CellFinished:
    """What is kept of a cell."""
    connect = 0.0 if cell.server == "tf-serving" else 0.31
    count = round(1000 / middle) + 30
    parts = [("network", 0.12), ("json", 0.2), ("graph", 0.68)]

    def latency(ms: float) -> Latency:
        return Latency(
            n=count, mean_ms=ms * 1.05, p50_ms=ms, p90_ms=ms * 1.2, p95_ms=ms * 1.3, p99_ms=ms * 1.6, min_ms=ms * 0.8,
            max_ms=ms * 2.5,
        )  # fmt: skip

    service = middle - connect
    return CellFinished(
        cell=cell, requests=count, duration_s=1.0, throughput_rps=1000 / middle, request=latency(middle),
        service=latency(service), connect=latency(connect) if connect else Latency(n=0),
        makespan_s=cell.size * middle / 4000 if ladder.kind == "concurrency" else None,
        parts=(
            *((Part(name="connect", ms=connect),) if connect else ()),
            *(Part(name=name, ms=share * service, plus_minus_ms=0.001) for name, share in parts),
        ),
        flags=("UNSTABLE",) if (cell.size, cell.server, cell.round) == (3, "flask", 2) else (), client_cpu_percent=6.0,
    )  # fmt: skip


def recording(
    *ladders: Ladder,
    rounds: int = 4,
    cells: int | None = None,
    end: str = "finished",
    first: Target = EMBEDDED,
    others: tuple[Target, ...] = (FLASK,),
    preset: str = "batch-small",
) -> list[Event]:
    """A run: ``cells`` limits how many finish; ``end`` is ``finished``, ``cancelled``, ``died`` or ``running``."""
    ladders = ladders or (SMALL,)
    noise = random.Random(1)
    begun = run_started(*ladders, rounds=rounds, first=first, others=others, preset=preset)
    plan = plan_cells(ladders, rounds, tuple(target.server for target in begun.targets))
    events = [*servers_ready(first), begun]
    by_name = {ladder.name: ladder for ladder in ladders}
    for number, cell in enumerate(plan[:cells], 1):
        events += cell_events(by_name[cell.ladder], cell, number, len(plan), noise)
    if end == "running":
        cell = plan[cells or 0]
        events += cell_events(by_name[cell.ladder], cell, (cells or 0) + 1, len(plan), noise)[:8]
    elif end == "finished":
        events.append(RunFinished(run_id="20260102-140231-ab12", duration_s=83.0))
    else:
        reason = "cancelled." if end == "cancelled" else "flask died (exit 137): worker was killed, out of memory."
        events.append(
            RunFailed(run_id="20260102-140231-ab12", duration_s=21.0, reason=reason, cancelled=end == "cancelled")
        )
    return events


def with_more_servers(events: list[Event], *names: str) -> list[Event]:
    """The same run against further servers of somebody else's; the first takes 0.7 of flask's time, the next 1.3 …"""
    more = tuple(
        Target(server=name, name=name, label=f"{name} external", version="?", url=f"http://10.0.0.{n}:8501")
        for n, name in enumerate(names, 1)
    )
    found: list[Event] = [
        ServerChanged(server=one.server, state=ServerState.READY, runtime="external", label="external", url=one.url)
        for one in more
    ]
    for event in events:
        if isinstance(event, RunStarted):
            found.append(msgspec.structs.replace(event, targets=(*event.targets, *more)))
            continue
        found.append(event)
        if isinstance(event, CellFinished) and event.cell.server == "flask" and event.request.p50_ms:
            for place, one in enumerate(more):
                p50_ms = event.request.p50_ms * (0.7 + 0.6 * place)
                cell = msgspec.structs.replace(event.cell, server=one.server)
                request = msgspec.structs.replace(event.request, p50_ms=p50_ms)
                found.append(msgspec.structs.replace(event, cell=cell, request=request, flags=()))
    return found


def with_failures(events: list[Event]) -> list[Event]:
    """The same run, where flask answered some requests of size 2 with 500."""
    failure = Failure(kind="5xx", count=7, example='HTTP 500 {"error": "[tensor] shape \\[/] mismatch"}')
    return [
        CellFinished(**{**{f: getattr(e, f) for f in e.__struct_fields__}, "failures": (failure,)})
        if isinstance(e, CellFinished) and e.cell.size == 2 and e.cell.server == "flask"
        else e
        for e in events
    ]


def write_recording(path: Path, events: list[Event]) -> Path:
    """The events as a file that ``--replay`` plays."""
    path.write_bytes(b"".join(encode_event(event) for event in events))
    return path
