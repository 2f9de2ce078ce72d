"""The server's own counters, under the names, labels and units of TensorFlow Serving's Prometheus page.

Times are microseconds. Buckets grow by 1.8 from 10 µs. Unlike the real page ``_sum`` is printed in full, not with six
digits. A series appears with its first observation.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence

_SERVING = ":tensorflow:serving:"
_CORE = ":tensorflow:core:"
_LIMITS = tuple(10 * 1.8**power for power in range(33))
_MOST_SERIES = 1000  # names in paths come from clients; beyond this they are counted together under ""


class _Counter:
    """A counter with labels."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self._labels = labels
        self._values: dict[tuple[str, ...], int] = {}

    def add(self, amount: int, *values: str) -> None:
        known = self._values.get(values)
        if known is None and len(self._values) >= _MOST_SERIES:
            values = ("",) * len(values)
        self._values[values] = self._values.get(values, 0) + amount

    def lines(self) -> list[str]:
        return [f"{self.name}{{{_label_text(self._labels, key)}}} {value}" for key, value in self._values.items()]


class _Histogram:
    """A histogram with labels and the buckets above."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self._labels = labels
        self._series: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, value: float, *values: str) -> None:
        counts = self._series.get(values)
        if counts is None:
            if len(self._series) >= _MOST_SERIES:
                values = ("",) * len(values)
            counts = self._series.setdefault(values, [0] * (len(_LIMITS) + 1))
        counts[bisect.bisect_right(_LIMITS, value)] += 1
        self._sums[values] = self._sums.get(values, 0.0) + value

    def lines(self) -> list[str]:
        return [line for key in self._series for line in self._one(key)]

    def _one(self, key: tuple[str, ...]) -> list[str]:
        labels = _label_text(self._labels, key)
        comma = "," if labels else ""
        total = 0
        lines = []
        for limit, count in zip([*(f"{limit:g}" for limit in _LIMITS), "+Inf"], self._series[key], strict=True):
            total += count
            lines.append(f'{self.name}_bucket{{{labels}{comma}le="{limit}"}} {total}')
        lines.append(f"{self.name}_sum{{{labels}}} {round(self._sums[key])}")
        lines.append(f"{self.name}_count{{{labels}}} {total}")
        return lines


def _label_text(names: Sequence[str], values: Sequence[str]) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in values)
    return ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))


class Metrics:
    """Everything that is counted; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._graph_runs = _Counter(_CORE + "graph_runs", ())
        self._graph_time = _Counter(_CORE + "graph_run_time_usecs", ())
        self._graph_times = _Histogram(_CORE + "graph_run_time_usecs_histogram", ())
        self._requests = _Counter(_SERVING + "request_count", ("model_name", "status"))
        self._latency = _Histogram(_SERVING + "request_latency", ("model_name", "API", "entrypoint"))
        self._runtime = _Histogram(_SERVING + "runtime_latency", ("model_name", "API", "runtime"))
        self._warmups = _Counter(_SERVING + "model_warmup_records_read", ("model_name",))
        batching = _SERVING + "batching_session:"
        self._queuing = _Histogram(batching + "queuing_latency", ())
        self._input_size = _Histogram(batching + "input_batch_size", ())
        self._processed_size = _Histogram(batching + "processed_batch_size", ())
        self._padding = _Histogram(batching + "padding_size", ())
        self._all: list[_Counter | _Histogram] = [
            self._graph_time, self._graph_times, self._graph_runs, self._input_size, self._padding,
            self._processed_size, self._queuing, self._warmups, self._requests, self._latency, self._runtime,
        ]  # fmt: skip

    def request(self, model: str, api: str, status: str, seconds: float) -> None:
        """One answered REST request; failures are counted but not timed, status polls come under ``API=""``."""
        with self._lock:
            self._requests.add(1, model, status)
            if status == "OK":
                self._latency.add(seconds * 1e6, model, api, "REST")

    def run(self, model: str, api: str, seconds: float) -> None:
        """One answered prediction, from its tensors being ready to its outputs being there."""
        with self._lock:
            self._runtime.add(seconds * 1e6, model, api, "TF1")

    def graph_run(self, seconds: float) -> None:
        """One run of a session."""
        with self._lock:
            self._graph_runs.add(1)
            self._graph_time.add(round(seconds * 1e6))
            self._graph_times.add(seconds * 1e6)

    def warmup(self, model: str, records: int) -> None:
        """Warm-up records replayed while a version was loaded."""
        with self._lock:
            self._warmups.add(records, model)

    def batch(self, queued_s: Sequence[float], sizes: Sequence[int], padding: int) -> None:
        """One batch: how long each of its tasks was queued, their sizes, and the rows added to fill it up."""
        with self._lock:
            for seconds, size in zip(queued_s, sizes, strict=True):
                self._queuing.add(seconds * 1e6)
                self._input_size.add(size)
            self._processed_size.add(sum(sizes) + padding)
            self._padding.add(padding)

    def page(self) -> str:
        """The whole page in Prometheus' text format."""
        with self._lock:
            lines = [line for metric in self._all for line in (f"# TYPE {metric.name} {metric.kind}", *metric.lines())]
        return "\n".join(lines) + "\n"
