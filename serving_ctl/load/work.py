"""The load engine's unit of work: a ``LoadSpec`` goes in, ``Tick`` and one ``LoadResult`` come out (as JSON lines).

Only values live here. Times are in the unit their name ends with; latencies are named by rule R2
(*service*, *request*, *response*, *connect*).
"""

from __future__ import annotations

import msgspec


class StopRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a client stops sending: both minima met, or ``max_seconds`` over with at least ``floor_requests`` sent (R8).

    ``requests=n, seconds=0`` sends exactly n requests; ``requests=0, seconds=t`` sends for t seconds.
    """

    requests: int = 0
    seconds: float = 0.0
    max_seconds: float = 30.0
    floor_requests: int = 5


class Warmup(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that are thrown away before the window (R7): both minima and ``workers`` distinct
    ``Server-Timing: worker;desc=ID`` seen, or ``max_seconds`` over (one request always)."""

    requests: int = 10
    seconds: float = 1.0
    max_seconds: float = 10.0
    workers: int = 0


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one load run does to one URL."""

    url: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    bodies_file: str | None = None
    """A file with one request body a line (JSON lines); clients take them in turn. None sends no body."""
    clients: int = 1
    stop: StopRule = StopRule(requests=30, seconds=1.0)
    warmup: Warmup | None = None
    burst: bool = False
    """True: first every client sends one request, all at once; its makespan is kept apart and the closed loop follows (R19)."""
    rate_rps: float | None = None
    """None is a closed loop; a number is an open loop at that rate (R3)."""
    arrivals: str = "constant"
    """Open loop only: ``constant`` or ``poisson`` (seeded)."""
    seed: int = 0
    timeout_s: float = 60.0
    drain_s: float = 30.0
    tick_s: float = 0.1
    samples: int = 0
    """Keep this many first response bodies (for parity checks)."""


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tick"):
    """What happened in one tick of a window. Latencies are request times (response times in open loop) in ms."""

    elapsed_s: float
    phase: str
    """``warmup``, ``burst``, ``window`` or ``drain``."""
    requests: int
    """Answered so far in this phase."""
    errors: int
    tick_requests: int
    p50_ms: float | None
    max_ms: float | None
    throughput_rps: float
    in_flight: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram in HDR layout, sparse: ``count[i]`` values in bucket ``index[i]`` (see ``stats.latency``, R14)."""

    index: tuple[int, ...] = ()
    count: tuple[int, ...] = ()
    min_us: float = 0.0
    max_us: float = 0.0
    sum_us: float = 0.0

    @property
    def n(self) -> int:
        """Number of values."""
        return sum(self.count)


class ErrorKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of failure (R10): how often, and the first example's text."""

    count: int
    example: str


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One fifth of a cell, for the stability rule (R9)."""

    seconds: float
    requests: int
    p50_ms: float | None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Sum and count of one ``Server-Timing`` metric (R21)."""

    sum_ms: float
    count: int


class ClientFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the load process says about itself (R12)."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    lag_ms_p99: float | None = None
    late: int = 0
    sent: int = 0
    connects: int = 0
    peak_rss_mb: float = 0.0


class LoadResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="result"):
    """All of one load run. Histograms hold successful requests only; errors are never in a quantile (R10)."""

    requests: int
    errors: dict[str, ErrorKind]
    duration_s: float
    throughput_rps: float
    request: Counts
    service: Counts
    connect: Counts
    response: Counts | None = None
    makespan_s: float | None = None
    """Burst only: from the first connect's start to the last of the first N answers (R19)."""
    burst_errors: int = 0
    windows: tuple[Window, ...] = ()
    server_timing: dict[str, Timing] = {}
    workers: dict[str, int] = {}
    client: ClientFacts = ClientFacts()
    flags: tuple[str, ...] = ()
    """Of CLIENT-LIMITED, CLIENT-BOUND, INCOMPLETE-DRAIN, WORKER-LOST."""
    samples: tuple[str, ...] = ()
