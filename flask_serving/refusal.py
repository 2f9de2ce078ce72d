"""Why a predict request cannot be served, in the words of TensorFlow Serving, found value by value.

Only requests that failed come here, so this walk may be slow. The texts follow tensorflow_serving/util/json_tensor.cc
and recorded answers of TensorFlow Serving 2.20. Two checks are ours: a tensor that does not fit the signature's shape
is refused (TensorFlow Serving hands it to the graph), and long values are cut.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable
from typing import Any

from flask_serving.model import Signature, TensorSpec

_INTEGER_RANGES = {
    "int8": (-(2**31), 2**31 - 1),  # the short types are read as int32 and cut to size
    "int16": (-(2**31), 2**31 - 1),
    "uint8": (-(2**31), 2**31 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
_FLOAT_LIMITS = {"float": (2**24 - 1, 3.4028234663852886e38), "double": (2**53 - 1, math.inf)}
CONVERTIBLE = frozenset([*_INTEGER_RANGES, *_FLOAT_LIMITS, "string", "bool"])

_LONGEST_TEXT = 500


class InvalidRequest(ValueError):
    """The client's request cannot be served (400); the text says what is wrong with it."""


def is_base64(value: Any) -> bool:
    """Whether a JSON value is `{"b64": "…"}`, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def is_named(value: Any) -> bool:
    """Whether a JSON value is an object of named inputs."""
    return isinstance(value, dict) and not is_base64(value)


def pretty(value: Any) -> str:
    """A JSON value as TensorFlow Serving prints it in an error: objects over lines, lists on one."""
    text = _pretty(value, 0)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"


def _pretty(value: Any, level: int) -> str:
    inner = "    " * (level + 1)
    if isinstance(value, list):
        return "[" + ", ".join(_pretty(item, level + 1) for item in value[:_LONGEST_TEXT]) + "]"
    if isinstance(value, dict) and value:
        members = (f"{inner}{json.dumps(key)}: {_pretty(item, level + 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(members) + "\n" + "    " * level + "}"
    return json.dumps(value, ensure_ascii=False)


def require_shape(name: str, shape: tuple[int, ...], expected: tuple[int | None, ...] | None, signature: str) -> None:
    """InvalidRequest if an input's shape cannot be the signature's; None stands for any size."""
    if expected is None:
        return
    fits = len(shape) == len(expected) and all(
        want is None or have == want for have, want in zip(shape, expected, strict=True)
    )
    if not fits:
        raise InvalidRequest(
            f'Input "{name}" has shape {_shape_text(shape)}, but signature "{signature}" takes {_shape_text(expected)}'
        )


def require_lossless(leaves: Iterable[Any], dtype_name: str) -> None:
    """InvalidRequest if a number does not fit into a float or double without losing its value."""
    for leaf in leaves:
        _check_float(leaf, dtype_name)


def of_predict(document: dict[str, Any], signature: Signature) -> InvalidRequest:
    """The refusal of a request whose values do not fit the signature: its first fault, in reading order."""
    try:
        if "instances" in document:
            _check_instances(document, signature)
        elif "inputs" in document:
            _check_inputs(document["inputs"], signature)
        else:
            return InvalidRequest("Missing 'inputs' or 'instances' key")
    except InvalidRequest as fault:
        return fault
    return InvalidRequest("The values do not form tensors of the signature's types")


def _check_instances(document: dict[str, Any], signature: Signature) -> None:
    rows = document["instances"]
    if "inputs" in document:
        raise InvalidRequest(
            f"JSON Value: {pretty(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys"
            " to exist "
        )
    if not isinstance(rows, list):
        raise InvalidRequest(f"JSON Value: {pretty(document)} Excepting 'instances' to be an list/array")
    if not rows:
        raise InvalidRequest(f"JSON Value: {pretty(document)} No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(signature.inputs) > 1:
        raise InvalidRequest(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    _check_rows(rows, signature)


def _check_rows(rows: list[Any], signature: Signature) -> None:
    named = is_named(rows[0])
    shapes: dict[str, tuple[int, ...]] = {}
    for number, row in enumerate(rows):
        if named and not is_named(row):
            raise InvalidRequest(f"Expecting object but got list at item {number} of input list")
        if not named and is_named(row):
            raise InvalidRequest(f"Expecting value/list but got object at item {number} of input list")
        for name, value in row.items() if named else [(next(iter(signature.inputs)), row)]:
            try:
                _check_item(name, value, signature, shapes)
            except InvalidRequest as fault:
                key = f" key: {name}" if named else ""
                code = "UNIMPLEMENTED" if isinstance(fault, _NotConvertible) else "INVALID_ARGUMENT"
                raise InvalidRequest(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: {code}: {fault}"
                ) from None
        if named and row.keys() != signature.inputs.keys():
            raise InvalidRequest(
                f"Failed to process element: {number} of 'instances' list. JSON object: {pretty(row)}"
                f" keys must be equal to: {','.join(signature.inputs)}"
            )


def _check_item(name: str, value: Any, signature: Signature, shapes: dict[str, tuple[int, ...]]) -> None:
    if name not in signature.inputs:
        raise InvalidRequest(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    _check_values(value, 0, shape, signature.inputs[name])
    first = shapes.setdefault(name, shape)
    if math.prod(first) != math.prod(shape):
        raise InvalidRequest(f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}")
    if first != shape:
        raise InvalidRequest(f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}")


def _check_inputs(values: Any, signature: Signature) -> None:
    if not is_named(values):
        if len(signature.inputs) > 1:
            raise InvalidRequest(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        values = {next(iter(signature.inputs)): values}
    for name, spec in signature.inputs.items():
        if name not in values:
            raise InvalidRequest(f"Missing named input: {name} in 'inputs' object.")
        _check_values(values[name], 0, _shape(values[name]), spec)


class _NotConvertible(InvalidRequest):
    """The REST API has no JSON form of this dtype."""


def _shape(value: Any) -> tuple[int, ...]:
    """The shape along each list's first element, which the others are then held against."""
    shape: tuple[int, ...] = ()
    while isinstance(value, list):
        shape += (len(value),)
        value = value[0] if value else None
    return shape


def _check_values(value: Any, level: int, shape: tuple[int, ...], spec: TensorSpec) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise InvalidRequest(
                f"JSON Value: {pretty(value)} found at incorrect level: {level + 1} in the JSON DOM."
                f" Expected at level: {rank}"
            )
        _check_leaf(value, spec.dtype_name)
        return
    if level >= rank:
        raise InvalidRequest(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise InvalidRequest(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _check_values(item, level + 1, shape, spec)


def _check_leaf(value: Any, dtype_name: str) -> None:
    if dtype_name == "string" and isinstance(value, dict):
        _check_base64(value)
    elif dtype_name not in CONVERTIBLE:
        raise _NotConvertible(f"Conversion of JSON Value: {pretty(value)} to type: {dtype_name}")
    elif not _has_type(value, dtype_name):
        raise InvalidRequest(
            f"JSON Value: {pretty(value)} Type: {_json_type(value)} is not of expected type: {dtype_name}"
        )
    elif dtype_name in _FLOAT_LIMITS:
        _check_float(value, dtype_name)
    elif dtype_name == "string":
        _check_text(value)


def _has_type(value: Any, dtype_name: str) -> bool:
    if dtype_name in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[dtype_name]
        return type(value) is int and low <= value <= high
    if dtype_name in _FLOAT_LIMITS:
        return type(value) in (int, float)
    return isinstance(value, bool if dtype_name == "bool" else str)


def _check_float(value: Any, dtype_name: str) -> None:
    largest_integer, largest = _FLOAT_LIMITS[dtype_name]
    if not isinstance(value, int) and not math.isfinite(value):
        return
    if abs(value) > (largest_integer if isinstance(value, int) else largest):
        raise InvalidRequest(f"Cannot convert JSON value: {pretty(value)} to {dtype_name} without loss of precision.")


def _check_base64(value: dict[str, Any]) -> None:
    if not is_base64(value):
        raise InvalidRequest(f"JSON Value: {pretty(value)} not formatted correctly for base64 data")
    try:
        base64.b64decode(value["b64"] + "=" * (-len(value["b64"]) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("Unable to base64 decode") from None


def _check_text(value: str) -> None:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidRequest(f"JSON Value: {ascii(value)[:_LONGEST_TEXT]} has half of a surrogate pair") from None


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "True" if value else "False"
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return "[" + ",".join("any" if size is None else str(size) for size in shape) + "]"
