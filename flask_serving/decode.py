"""From the body of a predict request to the arrays a signature takes, in bulk: no Python step per number.

Whatever does not fit is handed to `refusal`, which walks the values one by one to say what is wrong and where.
The JSON is as lenient as TensorFlow Serving's: NaN and Infinity, bytes that are not UTF-8, text after the object.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from flask_serving import refusal
from flask_serving.model import DEFAULT_SIGNATURE, Array, Signature, TensorSpec
from flask_serving.refusal import InvalidRequest

# TensorFlow Serving reads the short integers as int32 and cuts them to size: 256 as uint8 is 0.
_READ_AS = {"int8": np.dtype(np.int32), "int16": np.dtype(np.int32), "uint8": np.dtype(np.int32)}
_JSON_TYPES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}
_EXACT_INTEGERS = {"float": 2**24 - 1, "double": 2**53 - 1}


class PredictCall(NamedTuple):
    """One decoded request: the signature, its arrays in the order of `signature.inputs`, the form of the answer."""

    signature: Signature
    arrays: list[Array]
    by_row: bool


def decode_predict(body: bytes, signatures: Mapping[str, Signature]) -> PredictCall:
    """Decode `{"instances": […]}` (rows) or `{"inputs": …}` (columns); InvalidRequest says why it cannot be done."""
    try:
        call = _decode(parse_object(body), signatures)
    except RecursionError:
        raise InvalidRequest("JSON Parse error: the document is nested too deeply") from None
    for (name, spec), array in zip(call.signature.inputs.items(), call.arrays, strict=True):
        refusal.require_shape(name, array.shape, spec.shape, call.signature.name)
    return call


def _decode(document: dict[str, Any], signatures: Mapping[str, Signature]) -> PredictCall:
    signature = _signature(document, signatures)
    by_row = "instances" in document
    try:
        values = _instances(document, signature) if by_row else _inputs(document, signature)
        arrays = [_array(values[name], spec) for name, spec in signature.inputs.items()]
    except _Misfit:
        raise refusal.of_predict(document, signature) from None
    return PredictCall(signature, arrays, by_row)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; InvalidRequest if there is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise InvalidRequest(f"JSON Value: {refusal.pretty(document)} Is not object")
    return document


def _parse_leniently(body: bytes) -> Any:
    """What orjson refuses and TensorFlow Serving takes; bytes that are not UTF-8 travel as lone surrogates."""
    text = body.decode("utf-8", "surrogateescape").lstrip()
    if not text:
        raise InvalidRequest("JSON Parse error: The document is empty")
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except json.JSONDecodeError as error:
        reason = "Invalid value" if error.msg == "Expecting value" else error.msg
        raise InvalidRequest(f"JSON Parse error: {reason}. at offset: {error.pos}") from None


def _signature(document: dict[str, Any], signatures: Mapping[str, Signature]) -> Signature:
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise InvalidRequest(
            f"JSON Value: {refusal.pretty(document)} not formatted correctly."
            " 'signature_name' key must be a string value."
        )
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise InvalidRequest(f'Serving signature name: "{name}" not found in signature def')
    if not signature.takes_predict:
        raise InvalidRequest(f'Signature "{name}" has no inputs or no method that predicts: "{signature.method}"')
    return signature


class _Misfit(Exception):
    """The values do not fit the signature; `refusal` finds out where."""


def _instances(document: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """The values of each input over all rows."""
    rows = document["instances"]
    if "inputs" in document or not isinstance(rows, list) or not rows:
        raise _Misfit
    names = signature.inputs.keys()
    if not refusal.is_named(rows[0]):
        if len(names) > 1:
            raise _Misfit
        return {next(iter(names)): rows}
    if set(map(type, rows)) != {dict} or not all(row.keys() == names for row in rows):
        raise _Misfit
    return {name: [row[name] for row in rows] for name in names}


def _inputs(document: dict[str, Any], signature: Signature) -> dict[str, Any]:
    if "inputs" not in document:
        raise _Misfit
    values, names = document["inputs"], signature.inputs.keys()
    if refusal.is_named(values):
        if not names <= values.keys():
            raise _Misfit
        return {name: values[name] for name in names}
    if len(names) > 1:
        raise _Misfit
    return {next(iter(names)): values}


def _array(value: Any, spec: TensorSpec) -> Array:
    shape, leaves = _flatten(value)
    if spec.dtype_name not in refusal.CONVERTIBLE or not set(map(type, leaves)) <= _JSON_TYPES[spec.dtype.kind]:
        raise _Misfit
    try:
        flat = _strings(leaves) if spec.dtype.kind == "O" else _numbers(leaves, spec)
        return flat.reshape(shape)
    except (OverflowError, ValueError):
        raise _Misfit from None


def _flatten(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of nested lists and all their leaves in order; the lists of one level must be equally long."""
    shape: tuple[int, ...] = ()
    level = [value]
    while level and isinstance(level[0], list):
        if set(map(type, level)) != {list} or len(lengths := set(map(len, level))) != 1:
            raise _Misfit
        shape += tuple(lengths)
        level = list(chain.from_iterable(level))
    return shape, level


def _numbers(leaves: list[Any], spec: TensorSpec) -> Array:
    if spec.dtype.kind == "f":
        return _floats(leaves, spec)
    read_as = _READ_AS.get(spec.dtype_name)
    return np.array(leaves, spec.dtype) if read_as is None else np.array(leaves, read_as).astype(spec.dtype)


def _floats(leaves: list[Any], spec: TensorSpec) -> Array:
    with np.errstate(over="ignore"):
        array = np.array(leaves, spec.dtype)
    if array.size and not np.abs(array).max() <= _EXACT_INTEGERS[spec.dtype_name]:
        # NaN and Infinity pass the walk, numbers that lose their value do not.
        refusal.require_lossless(leaves, spec.dtype_name)
    return array


def _strings(leaves: list[Any]) -> Array:
    array = np.empty(len(leaves), object)
    array[:] = [_bytes(leaf) for leaf in leaves]
    return array


def _bytes(leaf: str | dict[str, Any]) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode("utf-8", "surrogateescape")
    if not refusal.is_base64(leaf):
        raise _Misfit
    text = leaf["b64"]
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
