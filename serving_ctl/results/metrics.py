"""The numbers a result speaks of: each with label, unit, direction and formula, and how it is read from a cell."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from serving_ctl.events import CellFinished


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity. ``value`` gives it for one cell, None where it was not measured or is withheld (R15)."""

    key: str
    label: str
    unit: str
    higher_is_better: bool
    formula: str
    value: Callable[[CellFinished], float | None]

    @property
    def better_word(self) -> str:
        """What a verdict says of the better server."""
        return "better" if self.higher_is_better else "faster"


def _inference(cell: CellFinished) -> float | None:
    """Session queue and graph together: what a server's own clock around the model's call would show."""
    parts = {part.name: part.ms for part in cell.parts}
    return parts["graph"] + parts.get("queue", 0.0) if "graph" in parts else None


def _rate(cell: CellFinished) -> float | None:
    return cell.throughput_rps if cell.requests else None


REQUEST_TIME = Metric(
    key="request",
    label="request time",
    unit="ms",
    higher_is_better=False,
    formula="median over requests of connect (when the request needed one) + service; closed loop",
    value=lambda cell: cell.request.p50_ms,
)
SERVICE_TIME = Metric(
    key="service",
    label="service time",
    unit="ms",
    higher_is_better=False,
    formula="median over requests of body end − send start, without any connect",
    value=lambda cell: cell.service.p50_ms,
)
INFERENCE_TIME = Metric(
    key="infer",
    label="inference time",
    unit="ms",
    higher_is_better=False,
    formula=(
        "mean time in the model as the server itself says it: Prometheus runtime_latency of TensorFlow Serving, "
        "Server-Timing infer of the others"
    ),
    value=_inference,
)
MAKESPAN = Metric(
    key="makespan",
    label="makespan",
    unit="s",
    higher_is_better=False,
    formula="N clients send one request each, all at once: from the first connect's start to the last answer",
    value=lambda cell: cell.makespan_s,
)
THROUGHPUT = Metric(
    key="throughput",
    label="throughput",
    unit="requests/s",
    higher_is_better=True,
    formula="answered requests / window, closed loop of N clients after the first N requests",
    value=_rate,
)

HIGHEST_RATE = Metric(
    key="highest-rate",
    label="highest rate",
    unit="requests/s",
    higher_is_better=True,
    formula=(
        "open loop: the highest rate at which p99 of the response time stays under the limit and errors under 0.1 %, "
        "by doubling, then bisection to 5 %"
    ),
    value=lambda cell: cell.limit,
)
HIGHEST_CLIENTS = Metric(
    key="highest-clients",
    label="highest concurrency",
    unit="clients",
    higher_is_better=True,
    formula=(
        "closed loop: the highest number of clients at which p99 of the request time stays under the limit and errors "
        "under 0.1 %, by doubling, then bisection to 5 %"
    ),
    value=lambda cell: cell.limit,
)

LADDER_METRICS: dict[str, tuple[Metric, ...]] = {
    "batch": (REQUEST_TIME, SERVICE_TIME, INFERENCE_TIME),
    "concurrency": (MAKESPAN, THROUGHPUT, REQUEST_TIME, INFERENCE_TIME),
    "rate-limit": (HIGHEST_RATE,),
    "client-limit": (HIGHEST_CLIENTS,),
}
"""What is tabulated of a ladder; the first is the headline."""
CHARTED: dict[str, tuple[Metric, ...]] = {
    "batch": (REQUEST_TIME,),
    "concurrency": (REQUEST_TIME, THROUGHPUT, MAKESPAN),
}
"""What is drawn by size."""
