"""The one vocabulary of facts that servers and runs send out: frozen, past tense, one JSON line each.

The same lines are what a run records, what ``--replay`` plays and what both faces draw. A failure is a value on the
cell it belongs to. Times are in the unit their name ends with; latencies are named by rule R2.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from serving_ctl.errors import ConfigError


class ServerState(enum.StrEnum):
    """What a server is doing; allowed moves are in ``servers/state.py``."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    FAILED = "failed"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Base of all events."""


class ServerChanged(Event, frozen=True):
    """A server changed its state; carries all a face shows of it."""

    server: str
    state: ServerState
    runtime: str = ""
    """``docker``, ``swarm``, ``native``, ``embedded``, ``external``, ``gunicorn``; empty while unknown."""
    label: str = ""
    """Runtime as every label and table shows it, e.g. ``embedded (TF-Serving-compatible)``, ``gunicorn 4 × sync``."""
    url: str = ""
    """Base URL, e.g. ``http://127.0.0.1:8501``."""
    addresses: tuple[str, ...] = ()
    """All base URLs where several share the load, ``url`` the first of them; empty for one."""
    version: str = "?"
    detail: str = ""
    """One sentence: what is awaited, or why it failed and what to do."""
    started_at: float | None = None
    """Seconds since the epoch."""
    cold_ms: float | None = None
    """Duration of the very first predict after the start (R7); None for one that was not started by us."""
    ours: bool = True
    """False when somebody else runs it, so that stopping it is not ours to do."""


class ServerSampled(Event, frozen=True):
    """CPU (100 = one core) and resident memory of a server's processes together, at most once a second (R11)."""

    server: str
    cpu_percent: float
    memory_mb: float
    processes: int
    waiting: int | None = None
    """Its queue: connections that the kernel has taken and the server has not; None where that cannot be seen."""
    received_mb_s: float | None = None
    """MB (10⁶ bytes) a second through its networks; None where they are not counted: only a container has its own."""
    sent_mb_s: float | None = None


class LogLine(Event, frozen=True):
    """One line a server wrote, without ANSI codes."""

    server: str
    text: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One server, one batch size or number of clients, one round."""

    ladder: str
    size: int
    server: str
    round: int


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of one test: ``kind`` is ``batch`` (sizes are instances a request), ``concurrency`` (clients), or a
    search, ``rate-limit`` or ``client-limit`` (sizes are the p99 in ms that must be held)."""

    name: str
    kind: str
    sizes: tuple[int, ...]
    clients: int = 1
    """Batch ladders: simultaneous clients."""
    batch: int = 1
    """Concurrency ladders: instances a request."""
    form: str = "row"
    """JSON form of the requests: ``row`` (instances) or ``column`` (inputs)."""
    gzip: bool = False
    """The request bodies are compressed."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A measured server as the result names it; the first target is the numerator of every ratio (R17)."""

    server: str
    name: str
    """What tables and verdicts call it: ``tf-serving``, ``embedded``, ``flask``."""
    label: str
    """Name and runtime in full: ``tf-serving docker``, ``embedded (TF-Serving-compatible)``, …"""
    version: str
    url: str
    cold_ms: float | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the fairness card (R23). ``mark`` is ``ok``, ``warn`` or ``info``; ``short`` fits 30 columns."""

    key: str
    mark: str
    short: str
    text: str


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in ms; a quantile is None where rule R15 withholds it."""

    n: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the mean time of a request (R20, R21); ``plus_minus_ms`` is the resolution of its source."""

    name: str
    """``connect``, ``network`` (and waiting), ``json``, ``queue`` (session and batching) or ``graph``."""
    ms: float
    plus_minus_ms: float = 0.0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that failed in one way (R10), with the first example."""

    kind: str
    count: int
    example: str


class RunStarted(Event, frozen=True):
    """A run began: its whole plan and its fairness card."""

    run_id: str
    started_at: str
    """ISO 8601 with offset."""
    tool_version: str
    preset: str
    title: str
    profile: str
    rounds: int
    ladders: tuple[Ladder, ...]
    targets: tuple[Target, ...]
    facts: tuple[Fact, ...]
    model: str
    signature: str
    seed: int
    expected_s: float
    fingerprint: dict[str, str] = {}
    """What must be the same for two runs to be compared (R24): machine, runtimes, versions, settings."""


class CellStarted(Event, frozen=True):
    """A cell began; ``number`` of ``total`` cells, counted from 1."""

    cell: Cell
    number: int
    total: int
    left_s: float
    """Expected seconds until the run's end, this cell included."""


class CellTick(Event, frozen=True):
    """About a tenth of a second of a cell. ``p50_ms`` and ``max_ms`` are of this tick; ``requests`` is cumulative."""

    cell: Cell
    phase: str
    elapsed_s: float
    requests: int
    errors: int
    p50_ms: float | None
    max_ms: float | None
    throughput_rps: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load that a search for the limit tried; ``verdict`` is ``held`` or why it did not."""

    load: float
    """Requests/s (open loop) or clients (closed loop)."""
    verdict: str
    p99_ms: float | None
    """Of the response time in an open loop, of the request time in a closed one (R2)."""
    throughput_rps: float
    requests: int
    errors: int


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a cell's load came from: workers of a cluster, how far apart they began, and their clocks."""

    workers: int
    """That took part; ``lost`` of them ended before the cell did."""
    hosts: int
    lost: int = 0
    start_skew_ms: float | None = None
    """Between the first and the last start, each against the instant agreed for it."""
    clock_offset_ms: float = 0.0
    """By how much the wall clock that differs most is ahead of ours; no time here depends on it."""
    offset_error_ms: float = 0.0
    """How exactly starts of different workers can be compared: half of the round trip of a clock's reading."""


class CellFinished(Event, frozen=True):
    """All that is kept of one cell. Quantiles hold successful requests only (R10)."""

    cell: Cell
    requests: int = 0
    duration_s: float = 0.0
    throughput_rps: float = 0.0
    request: Latency = Latency(n=0)
    service: Latency = Latency(n=0)
    connect: Latency = Latency(n=0)
    makespan_s: float | None = None
    parts: tuple[Part, ...] = ()
    failures: tuple[Failure, ...] = ()
    flags: tuple[str, ...] = ()
    skipped: str = ""
    """Why nothing was measured, e.g. ``saturated``; empty when it was."""
    limit: float | None = None
    """A search's result: the highest load that held; the figures above are then of that step."""
    steps: tuple[Step, ...] = ()
    """A search's steps in the order they were measured."""
    client_cpu_percent: float = 0.0
    """Load process, 100 = one core (R12)."""
    server_cpu_s: float | None = None
    """CPU seconds of the server's processes from before the first request to after the last; None when not known."""
    server_memory_mb: float | None = None
    """The most that a sample a second saw of the server's memory in the cell (10⁶ bytes, resident)."""
    client_floor_ms: float | None = None
    """p50 of the same load at the built-in echo server: what the client alone costs (R12); None when not measured."""
    histogram: tuple[tuple[int, int], ...] = ()
    """Request times: (HDR bucket, count) pairs, 3 significant digits, µs (R14)."""
    origin: Origin | None = None
    """Where the load came from; None when it was this machine alone."""
    addresses: dict[str, int] = {}
    """Requests sent to each address of a server that has several."""


class RunFinished(Event, frozen=True):
    """A run measured its last cell."""

    run_id: str
    duration_s: float


class RunFailed(Event, frozen=True):
    """A run ended before its last cell; what finished is kept. ``cancelled`` when the user ended it."""

    run_id: str
    duration_s: float
    reason: str
    cancelled: bool = False


AnyEvent = (
    ServerChanged
    | ServerSampled
    | LogLine
    | RunStarted
    | CellStarted
    | CellTick
    | CellFinished
    | RunFinished
    | RunFailed
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode_event(event: Event) -> bytes:
    """``event`` as one JSON line, newline included."""
    return _encoder.encode(event) + b"\n"


def decode_events(lines: Iterable[bytes], source: str) -> Iterator[AnyEvent]:
    """The events of ``lines``; a last line that was cut off by a crash is left out.

    Raises ConfigError naming ``source`` and the line number of a line that is no event.
    """
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: line {number} is not an event of a recording: {error}") from None


def read_recording(path: Path) -> list[AnyEvent]:
    """All events of a recording; raises ConfigError when it cannot be read or has none."""
    try:
        with path.open("rb") as lines:
            events = list(decode_events(lines, str(path)))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    if not events:
        raise ConfigError(f"{path}: holds no events; is it a recording made with --events?")
    return events
