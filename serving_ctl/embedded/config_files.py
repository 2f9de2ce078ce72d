"""The text files the server is given: models.config, monitoring.config and the batching parameters.

Parsed with protobuf's text format, never by hand. The models message comes from tensorflow-serving-api; monitoring
and batching messages are missing there, so ``_messages`` declares them (names as in tensorflow/serving
``config/monitoring_config.proto`` and ``servables/tensorflow/session_bundle_config.proto``; text carries no numbers).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from serving_ctl.embedded.status import StatusError, invalid

_PACKAGE = "tensorflow.serving"
_DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


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
    num_batch_threads: int = 4
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False


def read_models(path: str) -> list[ModelConfig]:
    """The models of a models.config; StatusError in the real server's words if it cannot be used."""
    from tensorflow_serving.config import model_server_config_pb2

    config = _parse(path, model_server_config_pb2.ModelServerConfig())
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
    prometheus = _parse(path, _messages()["MonitoringConfig"]()).prometheus_config
    return (prometheus.path or _DEFAULT_METRICS_PATH) if prometheus.enable else None


def read_batching(path: str, cores: int) -> BatchingParameters:
    """The batching parameters of a file, or the defaults (``num_batch_threads`` = ``cores``) if ``path`` is empty."""
    config: Any = _messages()["BatchingParameters"]()
    if path:
        _parse(path, config)
    defaults = BatchingParameters(num_batch_threads=cores)

    def value(name: str) -> int:
        return int(getattr(config, name).value if config.HasField(name) else getattr(defaults, name))

    sizes = tuple(config.allowed_batch_sizes)
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != value("max_batch_size")):
        raise invalid(
            "allowed_batch_sizes entries must be monotonically increasing and the last one must equal max_batch_size;"
            f" got {list(sizes)} and {value('max_batch_size')}"
        )
    return BatchingParameters(
        value("max_batch_size"),
        value("batch_timeout_micros"),
        value("max_enqueued_batches"),
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
        raise invalid(f"Invalid protobuf file: '{path}': {error}") from None


@functools.cache
def _messages() -> dict[str, type[Message]]:
    """MonitoringConfig and BatchingParameters, built at run time."""
    kind = descriptor_pb2.FieldDescriptorProto
    monitoring = _message("MonitoringConfig", {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"})
    prometheus = _message("PrometheusConfig", {"enable": kind.TYPE_BOOL, "path": kind.TYPE_STRING})
    number = ".google.protobuf.Int64Value"
    batching = _message(
        "BatchingParameters",
        {
            "max_batch_size": number,
            "batch_timeout_micros": number,
            "max_enqueued_batches": number,
            "num_batch_threads": number,
            "thread_pool_name": ".google.protobuf.StringValue",
            "pad_variable_length_inputs": kind.TYPE_BOOL,
            "enable_large_batch_splitting": ".google.protobuf.BoolValue",
            "max_execution_batch_size": number,
        },
    )
    batching.field.add(name="allowed_batch_sizes", number=99, type=kind.TYPE_INT64, label=kind.LABEL_REPEATED)
    file = descriptor_pb2.FileDescriptorProto(
        name="embedded_config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
        message_type=[monitoring, prometheus, batching],
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}") for message in file.message_type)
    return {descriptor.name: message_factory.GetMessageClass(descriptor) for descriptor in found}


def _message(name: str, fields: dict[str, str | int]) -> descriptor_pb2.DescriptorProto:
    """A message of single fields, each given by its scalar type or by the full name of its message."""
    kind = descriptor_pb2.FieldDescriptorProto
    message = descriptor_pb2.DescriptorProto(name=name)
    for number, (key, what) in enumerate(fields.items(), 1):
        entry = message.field.add(name=key, number=number, label=kind.LABEL_OPTIONAL)
        if isinstance(what, str):
            entry.type, entry.type_name = kind.TYPE_MESSAGE, what
        else:
            entry.type = what  # type: ignore[assignment]
    return message
