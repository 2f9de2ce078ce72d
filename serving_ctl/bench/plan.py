"""A preset made exact: which cells are measured, in which order (R16, R18), for how long, and its expected time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from serving_ctl.bench.presets import PROFILES, SEARCHES, Preset, check_rounds, named_ladders
from serving_ctl.config import FLASK, TF_SERVING, BenchSettings
from serving_ctl.errors import ConfigError
from serving_ctl.events import CellFinished, Ladder

MAX_CELL_SECONDS = 30.0
FLOOR_REQUESTS = 5
SATURATED_CELLS = 2
WORKER_LOST = "worker lost"
"""The kind of failure that is not the server's."""
SEARCH_S = 75.0
"""About twelve steps of 3,000 requests at 500 requests/s."""
SEARCH_REQUESTS = 36_000
TARGETS = (TF_SERVING, FLASK)
CALIBRATION_S = 1.3
"""The client's own floor is measured once a size (R12)."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run needs to know before it meets a server."""

    preset: str
    title: str
    profile: str
    rounds: int
    ladders: tuple[Ladder, ...]
    form: str
    gzip: bool
    min_seconds: float
    min_requests: int
    warmup_seconds: float
    timeout_s: float
    seed: int
    distinct_bodies: int
    targets: tuple[str, ...] = TARGETS
    """Names of the measured servers; the first is the numerator of every ratio (R17)."""

    @property
    def cells(self) -> int:
        """Number of cells of all targets."""
        return self._turns * sum(len(ladder.sizes) for ladder in self.ladders)

    @property
    def _turns(self) -> int:
        """How often each size is measured."""
        return len(self.targets) * self.rounds

    @property
    def expected_s(self) -> float:
        """About how long the run takes, servers already up."""
        sizes = [(ladder, size) for ladder in self.ladders for size in ladder.sizes]
        cells_s = self._turns * sum(self.expected_cell_s(ladder, size) for ladder, size in sizes)
        return cells_s + CALIBRATION_S * len(sizes)

    @property
    def expected_requests(self) -> int:
        """About how many requests are counted, at two cores' pace (a search: a dozen steps)."""
        return self._turns * sum(self._cell_requests(one, size) for one in self.ladders for size in one.sizes)

    def expected_memory_mb(self, processes: int) -> float:
        """About what so many processes need at the largest batch: 350 MB + 0.1 MB an instance each (text CNN)."""
        largest = max(size if one.kind == "batch" else one.batch for one in self.ladders for size in one.sizes)
        return processes * (350 + 0.1 * largest)

    def _cell_requests(self, ladder: Ladder, size: int) -> int:
        if ladder.kind in SEARCHES:
            return SEARCH_REQUESTS
        batch, clients = (size, ladder.clients) if ladder.kind == "batch" else (ladder.batch, size)
        request_s = (0.003 + 0.00015 * batch) / min(clients, 2)
        return max(round(min(self.min_seconds, MAX_CELL_SECONDS) / request_s), self.min_requests, clients)

    def expected_cell_s(self, ladder: Ladder, size: int) -> float:
        """A rough guess for one cell: the minima at 3 ms + 0.15 ms an instance a request (text CNN, two cores)."""
        if ladder.kind in SEARCHES:
            return SEARCH_S
        batch, clients = (size, ladder.clients) if ladder.kind == "batch" else (ladder.batch, size)
        request_s = 0.003 + 0.00015 * batch
        window = min(max(self.min_seconds, self.min_requests * request_s), MAX_CELL_SECONDS)
        queue = clients * request_s if clients > 1 else 0.0
        start_s = 0.8  # starting the load process, and now and then a cell that has to be extended
        return start_s + min(max(self.warmup_seconds, 2 * request_s), 10.0) + window + 2 * queue


def make_plan(
    name: str,
    preset: Preset,
    bench: BenchSettings,
    *,
    profile: str | None = None,
    rounds: int | None = None,
    targets: tuple[str, ...] = TARGETS,
) -> Plan:
    """The plan of a preset. An explicit ``profile`` outranks the preset's own numbers. Raises ConfigError."""
    if profile is not None and profile not in PROFILES:
        raise ConfigError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}.")
    check_rounds(rounds, "--rounds")
    own = preset if profile is None else Preset(title=preset.title, ladders=preset.ladders)
    base = PROFILES[profile or "quick"]
    return Plan(
        preset=name,
        title=preset.title,
        profile=profile or "quick",
        rounds=rounds or own.rounds or base.rounds,
        ladders=named_ladders(name, preset),
        form=preset.form,
        gzip=preset.gzip,
        min_seconds=base.min_seconds if own.min_seconds is None else own.min_seconds,
        min_requests=base.min_requests if own.min_requests is None else own.min_requests,
        warmup_seconds=own.warmup_seconds,
        timeout_s=bench.timeout_s,
        seed=bench.seed,
        distinct_bodies=bench.distinct_bodies,
        targets=targets,
    )


def round_order(ladder: Ladder, number: int, seed: int) -> tuple[int, ...]:
    """Sizes in the order of round ``number`` (from 1): the first ascends, later ones are shuffled, seeded (R16)."""
    sizes = list(ladder.sizes)
    if number > 1:
        random.Random(f"{seed}/{ladder.name}/{number}").shuffle(sizes)  # noqa: S311 - a reproducible order, no secret
    return tuple(sizes)


def server_order(servers: Sequence[str], number: int) -> tuple[str, ...]:
    """The order of round ``number`` (from 1): AB in odd rounds, BA in even ones (R16); with more than two servers
    ABC, CBA, then BCA, ACB, then CAB, BAC.

    An even round reverses the odd one before it: over every such pair each server stands in the middle on average and
    before each other one once, so that a steady drift cancels. Each further pair begins one server later, so that over
    as many pairs as there are servers each stands at each place equally often. Two servers need no such turn.
    """
    turn = (number - 1) // 2 % len(servers) if len(servers) > 2 else 0
    turned = (*servers[turn:], *servers[:turn])
    return turned if number % 2 else turned[::-1]


def is_saturated(cell: CellFinished, timeout_s: float) -> bool:
    """More than half of the requests failed, or the median is above half the timeout (R18)."""
    failed = sum(failure.count for failure in cell.failures if failure.kind != WORKER_LOST)
    median = cell.request.p50_ms or 0.0
    return failed > cell.requests or median > timeout_s * 1000 / 2
