"""The load engine's unit of work: a ``LoadSpec`` goes in, ``Tick`` and one ``LoadResult`` come out (as JSON lines).

Only values live here. Times are in the unit their name ends with; latencies are named by rule R2
(*service*, *request*, *response*, *connect*).
"""

from __future__ import annotations

import enum

import msgspec

from serving_ctl.events import Origin
from serving_ctl.stats.latency import Counts
from serving_ctl.stats.stability import is_stable

__all__ = [
    "BUSY_LIMIT",
    "LATE_LIMIT",
    "Action",
    "ClientFacts",
    "Command",
    "Counts",
    "ErrorKind",
    "Failed",
    "Fault",
    "LoadResult",
    "LoadSpec",
    "Ready",
    "Stage",
    "StopRule",
    "Tick",
    "Timing",
    "Warmup",
    "Window",
]


BUSY_LIMIT = 0.8
"""Share of a core above which a load process was the limit (R12)."""
LATE_LIMIT = 0.01
"""Share of late sends above which it was (R3)."""


class StopRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a client stops sending: both minima met, or ``max_seconds`` over with at least ``floor_requests`` sent (R8).

    ``requests=n, seconds=0`` sends exactly n requests; ``requests=0, seconds=t`` sends for t seconds.
    """

    requests: int = 0
    seconds: float = 0.0
    max_seconds: float | None = 30.0
    """None is no limit."""
    floor_requests: int = 5


class Warmup(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that are thrown away before the window (R7): both minima and ``workers`` distinct
    ``Server-Timing: worker;desc=ID`` seen, or ``max_seconds`` over (one request always)."""

    requests: int = 10
    seconds: float = 1.0
    max_seconds: float = 10.0
    workers: int = 0
    clients: int = 8
    """By how many clients at most; more when that many ``workers`` are to be met."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A straight piece of a ramp: within ``seconds`` to ``target`` requests/s (open loop) or clients (closed loop)."""

    seconds: float
    target: float


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one load run does to one URL, or to several that share the load."""

    url: str
    also: tuple[str, ...] = ()
    """Further addresses: clients take them in turn, and each stays with its own until that takes no connection. Scheme
    and TLS are those of ``url``; hosts and paths may differ."""
    movable: bool = False
    """Addresses may change while it runs (``Control.redirect``), even when there is one at the start."""
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    bodies_file: str | None = None
    """A file with one request body a line (JSON lines); clients take them in turn. None sends no body."""
    gzip: bool = False
    """Send bodies compressed (``Content-Encoding: gzip``); compressed once, before the clock runs (R4)."""
    clients: int = 1
    stop: StopRule = StopRule(requests=30, seconds=1.0)
    warmup: Warmup | None = None
    burst: bool = False
    """True: first every client sends one request, all at once; its makespan is apart, the closed loop follows (R19)."""
    rate_rps: float | None = None
    """None is a closed loop; a number is an open loop at that rate (R3)."""
    arrivals: str = "constant"
    """Open loop only: ``constant`` or ``poisson`` (seeded)."""
    stages: tuple[Stage, ...] = ()
    """A ramp that begins at ``rate_rps`` (open loop) or ``clients`` (closed loop); its length replaces ``stop``."""
    seed: int = 0
    first_body: int = 0
    """Which body the first request carries; load processes that share a run begin apart."""
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


class Fault(enum.StrEnum):
    """The kinds of failure (R10)."""

    REFUSED = "connect refused"
    CONNECT_TIMEOUT = "connect timeout"
    CONNECT_FAILED = "connect failed"
    RESET = "reset"
    READ_TIMEOUT = "read timeout"
    HTTP_3XX = "3xx"
    HTTP_4XX = "4xx"
    HTTP_5XX = "5xx"
    BAD_BODY = "bad body"
    OVER_RANGE = "over 120 s"
    UNFINISHED = "not finished"
    """Still in flight when the drain's grace was over (R5)."""
    WORKER_LOST = "worker lost"
    """Answered to a load process, or in flight at it, by its last tick: lost with it and in no other figure."""


class ErrorKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of failure (R10): how often, and the first example's text."""

    count: int
    example: str


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One fifth of a cell, for the stability rule (R9)."""

    seconds: float
    requests: int
    p50_ms: float | None
    latency: Counts = Counts()


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Sum and count of one ``Server-Timing`` metric (R21)."""

    sum_ms: float
    count: int


class ClientFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the load process says about itself (R12)."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    busiest: float = 0.0
    """CPU of the busiest load process as a share of one core."""
    lag_ms_p99: float | None = None
    late: int = 0
    """Open loop: sends later than max(1 ms, 1 % of the interval) after their time (R3)."""
    late_busy: int = 0
    """Of those, how many because every client had a request in flight: the server's doing, or too few clients."""
    sent: int = 0
    connects: int = 0
    concurrency: float | None = None
    """Closed loop: mean number of requests under way in the window; Little's law asks for all clients (R12)."""
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
    first_ms: float | None = None
    """Request time of the very first request, the warm-up's too (R7: *cold*, when the server had just started)."""
    windows: tuple[Window, ...] = ()
    server_timing: dict[str, Timing] = {}
    workers: dict[str, int] = {}
    addresses: dict[str, int] = {}
    """Several addresses: requests sent to each in the window, answered or not; empty for one address."""
    client: ClientFacts = ClientFacts()
    flags: tuple[str, ...] = ()
    """Of CLIENT-LIMITED, CLIENT-BOUND, INCOMPLETE-DRAIN, SKIPPED, WORKER-LOST."""
    samples: tuple[str, ...] = ()
    origin: Origin | None = None
    """Where the load came from, when several machines could share it."""

    @property
    def latency(self) -> Counts:
        """The headline latency: response time in open loop, else request time (R2)."""
        return self.request if self.response is None else self.response

    @property
    def is_stable(self) -> bool | None:
        """Rule R9 on the windows; None when they hold too few requests to judge."""
        return is_stable([(window.seconds, window.requests, window.p50_ms) for window in self.windows])


class Ready(msgspec.Struct, frozen=True, tag_field="type", tag="ready"):
    """A load process is warm and waits for ``Action.GO``."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="failed"):
    """A load process could not do its work; ``text`` is for the user."""

    text: str


class Action(enum.StrEnum):
    """What a load process is told while it runs."""

    GO = "go"
    PAUSE = "pause"
    RESUME = "resume"
    SKIP = "skip"
    CLIENTS = "clients"
    REDIRECT = "redirect"


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line on a load process's stdin after the spec; ``change`` is the ± of ``Action.CLIENTS``, ``urls`` are the
    addresses of ``Action.REDIRECT``."""

    action: Action
    change: int = 0
    urls: tuple[str, ...] = ()
