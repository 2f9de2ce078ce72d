"""A served model's signatures, read from the metadata document of the REST API."""

from __future__ import annotations

from typing import Any

import msgspec

from serving_ctl.errors import ConfigError, ServerAnswerError

PREDICT_METHOD = "tensorflow/serving/predict"


class TensorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output: ``dtype`` as in DT_…, lower case without the prefix; a size of -1 is free."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    """None when the rank is unknown."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """One signature of a servable."""

    name: str
    method: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What one version of a model offers."""

    name: str
    version: str
    signatures: tuple[Signature, ...]


def parse_metadata(document: dict[str, Any]) -> ServedModel:
    """The model of a metadata document; initialiser signatures are left out. Raises ServerAnswerError."""
    try:
        spec = document["model_spec"]
        signatures = document["metadata"]["signature_def"]["signature_def"]
        return ServedModel(
            name=spec["name"],
            version=spec["version"],
            signatures=tuple(
                _signature(name, signature)
                for name, signature in sorted(signatures.items())
                if not name.startswith("__saved_model_")
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServerAnswerError(f"metadata of an unknown form: {type(error).__name__}: {error}") from None


def choose_signature(model: ServedModel, wanted: str) -> Signature:
    """The signature to measure: ``wanted``, else ``serving_default``, else the first predict one.

    Raises ConfigError when there is none, or when an input is of a type that JSON cannot carry.
    """
    predict = {signature.name: signature for signature in model.signatures if signature.method == PREDICT_METHOD}
    if wanted and wanted not in predict:
        raise ConfigError(
            f"model {model.name} has no predict signature {wanted!r}; it has: {', '.join(predict) or 'none'}."
        )
    chosen = predict.get(wanted or "serving_default") or next(iter(predict.values()), None)
    if chosen is None:
        raise ConfigError(f"model {model.name} has no predict signature; it cannot be measured through :predict.")
    half = [tensor.name for tensor in chosen.inputs if tensor.dtype in {"half", "bfloat16"}]
    if half:
        raise ConfigError(
            f"signature {chosen.name!r} takes 16-bit floats ({half[0]}), which TensorFlow Serving refuses as JSON."
        )
    return chosen


def _signature(name: str, document: dict[str, Any]) -> Signature:
    return Signature(
        name=name,
        method=document.get("method_name", ""),
        inputs=_tensors(document["inputs"]),
        outputs=_tensors(document["outputs"]),
    )


def _tensors(document: dict[str, Any]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name=name, dtype=tensor["dtype"].removeprefix("DT_").lower(), shape=_shape(tensor["tensor_shape"]))
        for name, tensor in sorted(document.items())
    )


def _shape(document: dict[str, Any]) -> tuple[int, ...] | None:
    if document.get("unknown_rank"):
        return None
    return tuple(int(dim["size"]) for dim in document.get("dim", ()))
