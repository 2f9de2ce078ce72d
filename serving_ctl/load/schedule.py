"""When the next request may be sent, and with which body: closed loop (R8), warm-up (R7), open loop (R3).

No clocks and no sockets here: whoever asks brings the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from serving_ctl.load.work import Stage, StopRule, Warmup

_NEVER_NS = 1 << 62
_AT_A_TIME = 1024
"""Arrivals computed in one go."""

_FAR_S = 1e9

Seconds = npt.NDArray[np.float64]


class ClosedLoop:
    """A stop rule at work: ``take(now)`` hands out the next request until the rule says stop. Times are ns.

    While ``paused``, and while ``leaving`` clients are still to go, whoever asks gets nothing.
    """

    __slots__ = (
        "_floor",
        "_least",
        "_next_request",
        "_not_after",
        "_not_before",
        "leaving",
        "paused",
        "sent",
        "started_ns",
    )
    intended_ns = 0
    """When the request handed out last should have been sent; an open loop knows, as it does what was late."""
    late = 0
    late_busy = 0

    def __init__(self, stop: StopRule, next_request: Callable[[], bytes], started_ns: int) -> None:
        self.started_ns = started_ns
        self._least = stop.requests
        self._floor = stop.floor_requests
        self._not_before = started_ns + int(stop.seconds * 1e9)
        limit = stop.max_seconds
        self._not_after = _NEVER_NS if limit is None else started_ns + int(max(limit, stop.seconds) * 1e9)
        self._next_request = next_request
        self.paused = False
        self.leaving = 0
        self.sent = 0

    def take(self, now_ns: int) -> bytes | None:
        """The next request's bytes, or None: the client that asked parks. Called once a request, so kept short."""
        sent = self.sent
        if (sent < self._least or now_ns < self._not_before) and (now_ns < self._not_after or sent < self._floor):
            if self.paused or self.leaving:
                return None
            self.sent = sent + 1
            return self._next_request()
        return None

    def is_over(self, now_ns: int) -> bool:
        """True when nothing more will be handed out."""
        more = self.sent < self._least or now_ns < self._not_before
        return not (more and (now_ns < self._not_after or self.sent < self._floor))

    def stop(self) -> None:
        """Hand out nothing more."""
        self._least = self._floor = 0
        self._not_before = self._not_after = 0

    def shift(self, pause_ns: int) -> None:
        """Move the time limits by a pause that is over."""
        self._not_before += pause_ns
        self._not_after += pause_ns


class WarmUpLoop(ClosedLoop):
    """Both minima met and ``workers`` distinct workers seen, or the time limit over; one request always (R7)."""

    __slots__ = ("_deadline", "_seen", "_workers")

    def __init__(
        self, warmup: Warmup, next_request: Callable[[], bytes], started_ns: int, seen: Callable[[], int]
    ) -> None:
        limit = max(warmup.max_seconds, 0.0)
        stop = StopRule(
            requests=warmup.requests, seconds=min(warmup.seconds, limit), max_seconds=limit, floor_requests=1
        )
        super().__init__(stop, next_request, started_ns)
        self._deadline = started_ns + int(limit * 1e9)
        self._workers = warmup.workers
        self._seen = seen

    def take(self, now_ns: int) -> bytes | None:
        """The next request's bytes, or None."""
        request = super().take(now_ns)
        if request is None and not (self.paused or self.leaving or self.is_over(now_ns)):
            self.sent += 1
            return self._next_request()
        return request

    def is_over(self, now_ns: int) -> bool:
        """True when nothing more will be handed out."""
        return super().is_over(now_ns) and (now_ns >= self._deadline or self._seen() >= self._workers)

    def stop(self) -> None:
        """Hand out nothing more."""
        super().stop()
        self._deadline = 0

    def shift(self, pause_ns: int) -> None:
        """Move the time limits by a pause that is over."""
        super().shift(pause_ns)
        self._deadline += pause_ns


class OpenLoop(ClosedLoop):
    """An absolute schedule (R3): arrival k is at ``arrivals[k]`` seconds after the start, whatever became of k − 1.

    A request that is asked for late is handed out at once and counted in ``late``.
    """

    __slots__ = ("_arrivals", "_tolerance_ns", "_zero_ns", "intended_ns", "late", "late_busy", "next_ns", "ringing")

    def __init__(
        self,
        stop: StopRule,
        next_request: Callable[[], bytes],
        started_ns: int,
        arrivals: Iterator[float],
        highest_rps: float,
    ) -> None:
        super().__init__(stop, next_request, started_ns)
        self._arrivals = arrivals
        self._tolerance_ns = max(1e6, 0.01e9 / highest_rps)
        self._zero_ns = started_ns
        self.intended_ns = 0
        self.late = 0
        self.late_busy = 0
        self.ringing = False
        """True while the schedule itself calls; else it is a client asking that has just become free."""
        self.next_ns = 0
        """When the next request is due; the end of the run when none is left."""
        self._advance()

    def take(self, now_ns: int) -> bytes | None:
        """The next request that is due, or None."""
        intended = self.next_ns
        if now_ns < intended or self.paused or self.leaving or super().is_over(intended):
            return None
        self.intended_ns = intended
        if now_ns - intended > self._tolerance_ns:
            self.late += 1
            self.late_busy += not self.ringing
        self.sent += 1
        self._advance()
        return self._next_request()

    def is_over(self, now_ns: int) -> bool:
        """True when the schedule's next arrival is no longer part of the run and its time has come."""
        return now_ns >= self.next_ns and super().is_over(self.next_ns)

    def stop(self) -> None:
        """Hand out nothing more."""
        super().stop()
        self.next_ns = 0

    def shift(self, pause_ns: int) -> None:
        """Move the rest of the schedule by a pause that is over."""
        super().shift(pause_ns)
        self._zero_ns += pause_ns
        self.next_ns += pause_ns

    def _advance(self) -> None:
        self.next_ns = self._zero_ns + int(next(self._arrivals) * 1e9)


def arrivals(rate_rps: float, stages: Sequence[Stage], *, poisson: bool, seed: int) -> Iterator[float]:
    """Arrival times in seconds, ascending and endless; after the last stage its rate goes on.

    The k-th arrival is where the integral of the rate reaches k, or for a Poisson process the sum of k unit
    exponentials (time rescaling: exact for a rate that changes).
    """
    ramp = _Ramp(rate_rps, stages)
    random = np.random.default_rng(seed)
    reached = 0.0
    while True:
        steps = random.exponential(size=_AT_A_TIME) if poisson else np.ones(_AT_A_TIME)
        due = reached + np.cumsum(steps)
        reached = float(due[-1])
        # At a constant rate the first request is due at once.
        yield from ramp.when(due if poisson else due - 1.0).tolist()


def level(start: float, stages: Sequence[Stage], seconds: float) -> float:
    """Where a ramp from ``start`` stands after ``seconds``."""
    ends = np.cumsum([0.0, *(stage.seconds for stage in stages)])
    return float(np.interp(seconds, ends, [start, *(stage.target for stage in stages)]))


class _Ramp:
    """A rate that moves in straight lines, and the inverse of its integral."""

    def __init__(self, rate_rps: float, stages: Sequence[Stage]) -> None:
        seconds = np.array([stage.seconds for stage in stages], dtype=np.float64)
        self._rate = np.array([rate_rps, *(stage.target for stage in stages)], dtype=np.float64)
        self._begin = np.concatenate(([0.0], np.cumsum(seconds)))
        self._slope = np.append(np.diff(self._rate) / seconds, 0.0)
        self._done = np.concatenate(([0.0], np.cumsum(seconds * (self._rate[:-1] + self._rate[1:]) / 2)))

    def when(self, requests: Seconds) -> Seconds:
        """The time at which that many requests are due; infinite ones lie beyond a ramp that ends at 0."""
        piece = np.searchsorted(self._done, requests, side="right") - 1
        missing = requests - self._done[piece]
        rate, slope = self._rate[piece], self._slope[piece]
        # The root of slope/2·t² + rate·t = missing, in the form that stays exact for a slope of 0.
        root = rate + np.sqrt(np.maximum(rate * rate + 2.0 * slope * missing, 0.0))
        after = np.divide(2.0 * missing, root, out=np.where(missing > 0, _FAR_S, 0.0), where=root > 0)
        when: Seconds = self._begin[piece] + after
        return when
