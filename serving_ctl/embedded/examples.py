"""classify and regress: JSON examples to serialized tf.Example, and the outputs of such signatures to JSON.

Checks and texts follow TensorFlow Serving's ``json_tensor``, ``classifier`` and ``regressor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow.core.example import example_pb2

from serving_ctl.embedded.answers import number_texts, results_json, text_json
from serving_ctl.embedded.json_text import json_text, type_name
from serving_ctl.embedded.predict_json import Document, format_error
from serving_ctl.embedded.status import StatusError, invalid
from serving_ctl.embedded.tensors import Tensor, decode_base64, is_base64

_FLOAT_MAX = float(np.finfo(np.float32).max)
_INT64_MAX = (1 << 63) - 1
_LIST_OF = {"bytes": "bytes_list", "float": "float_list", "int64": "int64_list"}


def read_examples(document: Document) -> Tensor:
    """The request's examples, each with the request's context, as an object array of serialized tf.Example."""
    members = document.members
    context = _example(members["context"]).SerializeToString() if "context" in members else b""
    if "examples" not in members:
        raise format_error(members, "When method is classify, key 'examples' is expected and was not found")
    examples = members["examples"]
    if not isinstance(examples, list):
        raise format_error(members, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise format_error(members, "'examples' value is an empty array")
    serialized = np.empty(len(examples), object)
    # Serialized messages one after the other merge when parsed: what the example says overrides the context.
    serialized[:] = [context + _example(value).SerializeToString() for value in examples]
    return serialized


def _example(value: Any) -> Any:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = example.features.feature[name]
        items = content if isinstance(content, list) else [content]
        kinds = {_feature_kind(name, item) for item in items}
        if len(kinds) > 1:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {_feature_kind(name, items[0])}")
        if kinds:
            getattr(feature, _LIST_OF[kinds.pop()]).value.extend(_feature_value(name, item) for item in items)
    return example


def _feature_kind(name: str, item: Any) -> str:
    if isinstance(item, str) or is_base64(item):
        return "bytes"
    if isinstance(item, float):
        return "float"
    if isinstance(item, int):
        return "int64"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(item)}")


def _feature_value(name: str, item: Any) -> bytes | float | int:
    if isinstance(item, dict):
        return decode_base64(item)
    if isinstance(item, str):
        return item.encode("utf-8", "surrogateescape")
    if isinstance(item, float) and np.isfinite(item) and abs(item) > _FLOAT_MAX:
        raise invalid(f"Cannot convert JSON value: {json_text(item)} to float without loss of precision.")
    if isinstance(item, int) and item > _INT64_MAX:
        raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return int(item) if isinstance(item, bool) else item


def _debug(definition: Any) -> str:
    return text_format.MessageToString(definition)


def _failed(message: str) -> StatusError:
    return StatusError("FAILED_PRECONDITION", message)


def check_classification(definition: Any) -> None:
    """StatusError unless the signature takes examples and gives classes or scores."""
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(definition.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    if "inputs" not in definition.inputs:
        raise _failed(f"No classification inputs found in SignatureDef: {_debug(definition)}")
    if "classes" not in definition.outputs and "scores" not in definition.outputs:
        raise _failed(
            'Expected classification signature outputs to contain at least one of "classes" or "scores".'
            f" Signature was: {_debug(definition)}"
        )


def check_regression(definition: Any) -> None:
    """StatusError unless the signature takes examples and gives one output named ``outputs``."""
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(definition.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    for there, what, name in ((definition.inputs, "inputs", "inputs"), (definition.outputs, "outputs", "outputs")):
        if name not in there:
            raise _failed(f"No regression {what} found in SignatureDef: {_debug(definition)}")


def _shape(tensor: Tensor) -> str:
    return f"[{','.join(map(str, tensor.shape))}]"


def classification_json(outputs: Mapping[str, Tensor], examples: int) -> bytes:
    """``{"results": [[[label, score], …], …]}``, one list of classes an example."""
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, tensor, dtype in (("classes", classes, np.dtype(object)), ("scores", scores, np.dtype(np.float32))):
        if tensor is not None:
            _check_classes(name, tensor, dtype, examples)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    known = classes if classes is not None else scores
    assert known is not None
    labels = [text_json(label) for label in classes.reshape(-1)] if classes is not None else [b'""'] * known.size
    numbers = number_texts(scores) if scores is not None else [b"0.0"] * known.size
    pairs = [b"[%s, %s]" % pair for pair in zip(labels, numbers, strict=True)]
    width = known.shape[1]
    rows = (pairs[start : start + width] for start in range(0, width * examples, width)) if width else [[]] * examples
    return results_json([b"[" + b", ".join(row) + b"]" for row in rows])


def _check_classes(name: str, tensor: Tensor, dtype: Any, examples: int) -> None:
    if tensor.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(tensor)}")
    if tensor.dtype != dtype:
        wanted = "DT_STRING" if name == "classes" else "DT_FLOAT"
        raise invalid(f"Expected {name} Tensor of {wanted}. Got: {tensor.dtype.name}")
    if tensor.shape[0] != examples:
        raise invalid(f"Expected {name} output batch size of {examples}. Got: {tensor.shape[0]}")


def regression_json(outputs: Mapping[str, Tensor], examples: int) -> bytes:
    """``{"results": [value, …]}``, one value an example."""
    tensor = outputs["outputs"]
    if tensor.ndim != 1 and not (tensor.ndim == 2 and tensor.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(tensor)
        )
    if tensor.shape[0] != examples:
        raise invalid(f"Input batch size did not match output batch size: {examples} vs. {tensor.shape[0]}")
    if tensor.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {tensor.dtype.name}")
    return results_json(number_texts(tensor))
