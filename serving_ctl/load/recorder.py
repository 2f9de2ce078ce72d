"""The numbers of one phase: raw nanoseconds are appended while it runs and folded into histograms in bulk (R14).

Memory is bounded for any length: raw values live until the next fold, many time slices are joined in pairs.
"""

from __future__ import annotations

from array import array

import msgspec
import numpy as np
import numpy.typing as npt

from serving_ctl.load.answer import Head
from serving_ctl.load.work import ErrorKind, Fault, Timing, Window
from serving_ctl.stats.latency import MAX_US, Counts, Histogram, count, merge, shown_quantile_ms

_MOST_SLICES = 100
_EXAMPLE = 400
"""Longest example text of an error kind, characters."""

Microseconds = npt.NDArray[np.float64]


class Slice(msgspec.Struct, frozen=True):
    """What was answered between two folds: the headline latency's histogram over ``seconds``."""

    seconds: float
    latency: Counts


class Recorder:
    """Collects one phase. ``kept`` takes one service time in ns of a closed-loop request over a standing connection."""

    def __init__(self, started_ns: int, *, open_loop: bool = False) -> None:
        self.started_ns = started_ns
        self.open_loop = open_loop
        self.request, self.service = Histogram(), Histogram()
        self.connect, self.response = Histogram(), Histogram()
        self.slices: list[Slice] = []
        self.slicing = True
        """False once the window is over: what is drained then belongs to no slice."""
        self.server_timing: dict[str, Timing] = {}
        self.workers: dict[str, int] = {}
        self.errors: dict[str, ErrorKind] = {}
        self.errored = 0
        self.error_ns = 0
        self.first_ns: int | None = None
        self._kept = array("q")
        self._detailed = array("q")
        self.kept = self._kept.append
        self._folded_ns = started_ns
        self._folds_per_slice = 1
        self._folds_in_last = 1

    @property
    def answered(self) -> int:
        """Successful requests so far, the unfolded ones too."""
        return self.request.n + len(self._kept) + len(self._detailed) // 3

    @property
    def busy_ns(self) -> float:
        """Connect and service time of everything finished and folded, errors too (R12)."""
        return (self.service.sum_us + self.connect.sum_us) * 1e3 + self.error_ns

    def detailed(self, service_ns: int, connect_ns: int, response_ns: int) -> None:
        """A success with its connect (0 when it needed none) and, in open loop, its response time."""
        if self.first_ns is None and not self._kept:
            self.first_ns = service_ns + connect_ns
        self._detailed.extend((service_ns, connect_ns, response_ns))

    def error(self, kind: Fault, example: str, spent_ns: int = 0, times: int = 1) -> None:
        """Count a failure; the first example of each kind is kept (R10)."""
        known = self.errors.get(kind)
        text = known.example if known else example[:_EXAMPLE]
        self.errors[kind] = ErrorKind(count=(known.count if known else 0) + times, example=text)
        self.errored += times
        self.error_ns += spent_ns

    def said(self, head: Head) -> None:
        """Add an answer's ``Server-Timing`` (R21)."""
        for name, duration_ms in head.timings:
            known = self.server_timing.get(name)
            self.server_timing[name] = Timing(
                sum_ms=duration_ms + (known.sum_ms if known else 0.0), count=1 + (known.count if known else 0)
            )
        if head.worker is not None:
            self.workers[head.worker] = self.workers.get(head.worker, 0) + 1

    def fold(self, now_ns: int) -> Slice:
        """Move the raw values into the histograms; returns what came in since the last fold."""
        kept, detailed = self._drain()
        service = np.concatenate((kept, detailed[:, 0]))
        request = np.concatenate((kept, detailed[:, 0] + detailed[:, 1]))
        headline = detailed[:, 2] if self.open_loop else request
        held = headline <= MAX_US
        if not held.all():
            self.error(
                Fault.OVER_RANGE, f"{headline.max() / 1e6:.1f} s", int(request[~held].sum() * 1e3), int((~held).sum())
            )
            service, request, headline = service[held], request[held], headline[held]
        connect = detailed[:, 1]
        self.service.add(service)
        self.request.add(request)
        self.connect.add(connect[(connect > 0) & (connect <= MAX_US)])
        if self.open_loop:
            self.response.add(headline)
        piece = Slice((now_ns - self._folded_ns) / 1e9, count(headline))
        self._folded_ns = now_ns
        self._keep_slice(piece)
        return piece

    def skip_time(self, now_ns: int) -> None:
        """Leave the time since the last fold out of every slice (a pause)."""
        self._folded_ns = now_ns

    def windows(self) -> tuple[Window, ...]:
        """The slices as five windows of about equal length, for the stability rule (R9)."""
        if len(self.slices) < 5:
            return ()
        ends = np.cumsum([piece.seconds for piece in self.slices])
        # Each slice belongs to the fifth in which its middle lies.
        middles = ends - np.asarray([piece.seconds for piece in self.slices]) / 2
        fifth = np.minimum((middles / ends[-1] * 5).astype(int), 4)
        groups = [[piece for piece, at in zip(self.slices, fifth, strict=True) if at == i] for i in range(5)]
        return tuple(_window(group) for group in groups if group)

    def _drain(self) -> tuple[Microseconds, Microseconds]:
        """The raw values in µs: standing connections (n), detailed ones (n × service, connect, response)."""
        kept = np.array(self._kept, dtype=np.float64) / 1e3
        detailed = np.array(self._detailed, dtype=np.float64).reshape(-1, 3) / 1e3
        del self._kept[:]
        del self._detailed[:]
        return kept, detailed

    def _keep_slice(self, piece: Slice) -> None:
        if not self.slicing or piece.seconds <= 0:
            return
        if self._folds_in_last < self._folds_per_slice and self.slices:
            self.slices[-1] = _join(self.slices[-1], piece)
            self._folds_in_last += 1
            return
        if len(self.slices) == _MOST_SLICES:
            pairs = zip(self.slices[::2], self.slices[1::2], strict=True)
            self.slices = [_join(*pair) for pair in pairs]
            self._folds_per_slice *= 2
        self.slices.append(piece)
        self._folds_in_last = 1


def _join(first: Slice, second: Slice) -> Slice:
    return Slice(first.seconds + second.seconds, merge(first.latency, second.latency))


def _window(pieces: list[Slice]) -> Window:
    latency = merge(*(piece.latency for piece in pieces))
    return Window(
        seconds=sum(piece.seconds for piece in pieces),
        requests=latency.n,
        p50_ms=shown_quantile_ms(latency, 0.5),
        latency=latency,
    )
