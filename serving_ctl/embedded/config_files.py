"""The text files the server is given: models.config, monitoring.config and the batching parameters.

Parsed with protobuf's text format, never by hand, into the messages of ``api/server_config.proto``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving_ctl.api import server_config_pb2
from serving_ctl.embedded.status import StatusError, invalid

_DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
_SIZES = 1 << 64  # sizes are unsigned there: below zero is as good as no limit


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions found are served: the ``latest`` n, ``all``, or ``specific`` numbers."""

    latest: int = 1
    every: bool = False
    specific: frozenset[int] = frozenset()

    def choose(self, found: dict[int, Path]) -> set[int]:
        """The versions to serve out of those found."""
        if self.every:
            return set(found)
        if self.specific:
            return set(found) & self.specific
        return set(sorted(found)[-self.latest :])


@dataclass(frozen=True)
class ModelConfig:
    """One model of the config: name, absolute base path, version policy, labels (label to version)."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchingParameters:
    """Server-side batching; the defaults are TensorFlow Serving's."""

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False


def read_models(path: str) -> list[ModelConfig]:
    """The models of a models.config; StatusError in the real server's words if it cannot be used."""
    config = _parse(path, server_config_pb2.ModelServerConfig())
    models = [_model(entry) for entry in config.model_config_list.config]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"Illegal to list model {name} multiple times in config list")
    return models


def _model(entry: Any) -> ModelConfig:
    if not Path(entry.base_path).is_absolute():
        raise invalid(f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}")
    policy = entry.model_version_policy
    latest = policy.latest.num_versions if policy.HasField("latest") else 1
    specific = frozenset(policy.specific.versions)
    if policy.HasField("specific") and not specific:
        raise invalid("There must be at least one version in the specific version policy")
    chosen = VersionPolicy(max(latest, 1), policy.HasField("all"), specific)
    return ModelConfig(entry.name, entry.base_path, chosen, dict(entry.version_labels))


def read_metrics_path(path: str) -> str | None:
    """The path Prometheus metrics are served at according to a monitoring config; None if they are off."""
    prometheus = _parse(path, server_config_pb2.MonitoringConfig()).prometheus_config
    return (prometheus.path or _DEFAULT_METRICS_PATH) if prometheus.enable else None


def read_own_batching(version_folder: Path) -> BatchingParameters | None:
    """The parameters a SavedModel brings with it, which replace the server's; None if it brings none."""
    path = version_folder / "batching_params.pbtxt"
    return read_batching(str(path)) if path.exists() else None


def read_batching(path: str) -> BatchingParameters:
    """The batching parameters of a file, or the defaults if ``path`` is empty.

    What is refused, and the words, are those of TensorFlow's shared_batch_scheduler.h (``Create``, ``AddQueue``).
    """
    config: Any = server_config_pb2.BatchingParameters()
    if path:
        _parse(path, config)
    defaults = BatchingParameters()

    def value(name: str) -> int:
        return int(getattr(config, name).value if config.HasField(name) else getattr(defaults, name))

    sizes = tuple(config.allowed_batch_sizes)
    if sizes and sizes[-1] != value("max_batch_size"):
        raise invalid(
            "Last entry in allowed_batch_sizes must match max_batch_size;"
            f" last entry was {sizes[-1]}; expected {value('max_batch_size')}"
        )
    if list(sizes) != sorted(set(sizes)):
        raise invalid(f"allowed_batch_sizes entries must be monotonically increasing; got {list(sizes)}")
    if value("num_batch_threads") < 1:
        raise invalid(f"num_batch_threads must be positive; was {value('num_batch_threads')}")
    if value("max_batch_size") == 0:
        raise invalid("input_batch_size_limit must be positive; was 0")
    if value("batch_timeout_micros") < 0:
        raise invalid(f"batch_timeout_micros must be non-negative; was {value('batch_timeout_micros')}")
    return BatchingParameters(
        value("max_batch_size") % _SIZES,
        value("batch_timeout_micros"),
        max(value("max_enqueued_batches") % _SIZES, 1),
        value("num_batch_threads"),
        sizes,
        config.pad_variable_length_inputs,
    )


def _parse(path: str, message: Any) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StatusError("NOT_FOUND", f"{path}; {error.strerror}") from None
    except UnicodeDecodeError:
        raise invalid(f"Invalid protobuf file: '{path}' (it is no text)") from None
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise invalid(f"Invalid protobuf file: '{path}': {_in_real_names(str(error))}") from None


def _in_real_names(text: str) -> str:
    """Our messages have a package of their own; users know them by TensorFlow Serving's."""
    return text.replace('"tfserve.', '"tensorflow.serving.')
