"""TensorFlow Serving's Prometheus text, as the few counters that say where time went (rule R20)."""

from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from serving_ctl.errors import ServerAnswerError


class Scrape(msgspec.Struct, frozen=True, kw_only=True):
    """Sums in µs and counts since the server's start, for one model; graph counters are of the whole process."""

    request_us: float = 0.0
    requests: int = 0
    run_us: float = 0.0
    runs: int = 0
    graph_us: float = 0.0
    graph_runs: int = 0


_SOURCES = {
    ":tensorflow:serving:request_latency_sum": "request_us",
    ":tensorflow:serving:request_latency_count": "requests",
    ":tensorflow:serving:runtime_latency_sum": "run_us",
    ":tensorflow:serving:runtime_latency_count": "runs",
    ":tensorflow:core:graph_run_time_usecs_total": "graph_us",
    ":tensorflow:core:graph_runs_total": "graph_runs",
}
_WANTED_LABELS = {"API": {"predict", "Predict"}, "entrypoint": {"REST"}}


def parse_scrape(text: str, model: str) -> Scrape:
    """The counters of ``model``'s predictions over REST; status polls (``API=""``) are left out.

    Raises ServerAnswerError when ``text`` is no Prometheus text.
    """
    values: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                field = _SOURCES.get(sample.name)
                if field and _is_wanted(sample.labels, model):
                    values[field] = values.get(field, 0.0) + sample.value
        return msgspec.convert(values, Scrape, strict=False)
    except ValueError as error:
        raise ServerAnswerError(f"metrics that are not Prometheus text: {error}") from None


def _is_wanted(labels: dict[str, str], model: str) -> bool:
    if labels.get("model_name", model) != model:
        return False
    return all(labels[name] in wanted for name, wanted in _WANTED_LABELS.items() if name in labels)
