"""Answers as JSON: tensors in row or column form, errors. Arrays are written in bulk by orjson.

What orjson cannot express (NaN, Infinity, strings that are not UTF-8) is put in afterwards. Numbers have the shortest
digits that read back as the same float32 or float64.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from serving_ctl.embedded.status import invalid
from serving_ctl.embedded.tensors import Tensor

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_ANSWERABLE = {np.dtype(kind) for kind in ("f4", "f8", "i4", "i2", "i1", "u1", "i8", "u4", "u8", "?", "O")}


def error_json(message: str) -> bytes:
    """An error answer: ``{"error": "…"}``, laid out as the real server does."""
    return _object(b"error", text_json(message))


def predict_json(outputs: Mapping[str, Tensor], row: bool) -> bytes:
    """The answer to a predict request; StatusError if the outputs cannot be written in that form."""
    for name, tensor in outputs.items():
        if tensor.dtype not in _ANSWERABLE:
            raise invalid(f"Failed to write JSON value for tensor type: {_dtype_name(tensor)} of output {name}")
    return _row_json(outputs) if row else _column_json(outputs)


def _object(key: bytes, value: bytes) -> bytes:
    return b'{\n    "' + key + b'": ' + value + b"\n}"


def _column_json(outputs: Mapping[str, Tensor]) -> bytes:
    values = {name: _tensor_json(tensor, name) for name, tensor in outputs.items()}
    if len(values) == 1:
        return _object(b"outputs", next(iter(values.values())))
    members = b",\n        ".join(text_json(name) + b": " + value for name, value in values.items())
    return _object(b"outputs", b"{\n        " + members + b"\n    }")


def _row_json(outputs: Mapping[str, Tensor]) -> bytes:
    _check_batch(outputs)
    if len(outputs) == 1:
        name, tensor = next(iter(outputs.items()))
        return _object(b"predictions", _tensor_json(tensor, name))
    columns = [
        [text_json(name) + b": " + value for value in _rows_json(tensor, name)] for name, tensor in outputs.items()
    ]
    rows = (b"{" + b", ".join(row) + b"}" for row in zip(*columns, strict=True))
    return _object(b"predictions", b"[\n        " + b",\n        ".join(rows) + b"\n    ]")


def _check_batch(outputs: Mapping[str, Tensor]) -> None:
    batch = 0
    for name, tensor in outputs.items():
        if not tensor.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if tensor.shape[0] < 1:
            raise invalid(f"Tensor name: {name} has invalid batch size: {tensor.shape[0]}")
        if batch not in (0, tensor.shape[0]):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {tensor.shape[0]} expecting: {batch}")
        batch = tensor.shape[0]


def results_json(results: list[bytes]) -> bytes:
    """The answer to classify and regress: ``results`` are JSON texts, one an example."""
    return _object(b"results", b"[" + b", ".join(results) + b"]")


def number_texts(tensor: Tensor) -> list[bytes]:
    """Every number of a tensor as JSON text, in order."""
    return _tensor_json(tensor.reshape(-1), "")[1:-1].split(b",") if tensor.size else []


def _rows_json(tensor: Tensor, name: str) -> list[bytes]:
    """Each row of a tensor as JSON; vectors of numbers are written at once and then cut."""
    if tensor.ndim == 1 and tensor.dtype != object:
        return number_texts(tensor)
    return [_tensor_json(np.asarray(part, tensor.dtype), name) for part in tensor]


def _tensor_json(tensor: Tensor, name: str) -> bytes:
    if tensor.dtype == object:
        return _strings_json(tensor, as_bytes=name.endswith("_bytes"))
    text = orjson.dumps(np.ascontiguousarray(tensor) if tensor.ndim else tensor[()], option=_NUMPY)
    if tensor.dtype.kind != "f" or np.isfinite(tensor).all():
        return text
    return _with_non_finite(text, tensor)


def _with_non_finite(text: bytes, tensor: Tensor) -> bytes:
    """orjson wrote ``null`` for every NaN and Infinity, in order: put them back."""
    words = ["NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity" for value in _non_finite(tensor)]
    pieces = itertools.zip_longest(text.split(b"null"), (word.encode() for word in words), fillvalue=b"")
    return b"".join(itertools.chain.from_iterable(pieces))


def _non_finite(tensor: Tensor) -> list[float]:
    flat = tensor.reshape(-1)
    values: list[float] = flat[~np.isfinite(flat)].tolist()
    return values


def _strings_json(tensor: Tensor, *, as_bytes: bool) -> bytes:
    flat = np.empty(tensor.size, object)
    flat[:] = [_string(value, as_bytes) for value in tensor.reshape(-1)]
    return text_json(flat.reshape(tensor.shape).tolist())


def _string(value: Any, as_bytes: bool) -> Any:
    data = value if isinstance(value, bytes) else str(value).encode()
    if as_bytes:
        return {"b64": base64.b64encode(data).decode()}
    return data.decode("utf-8", "surrogateescape")


def text_json(value: Any) -> bytes:
    """JSON of a string, of bytes, or of lists of strings; what is no UTF-8 goes out as it came in."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _dtype_name(tensor: Tensor) -> str:
    return {"float16": "half"}.get(tensor.dtype.name, tensor.dtype.name)
