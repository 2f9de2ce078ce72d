"""From a signature's output arrays to the body of a predict answer, in bulk.

orjson writes numpy arrays as they are, float32 in its shortest form as TensorFlow Serving does. It cannot write NaN,
Infinity, or bytes that are not UTF-8: answers that hold any go through the standard library.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from flask_serving.model import Array
from flask_serving.refusal import InvalidRequest


def encode_predict(outputs: Mapping[str, Array], *, by_row: bool) -> bytes:
    """`{"predictions": […]}`, one element a row, or `{"outputs": …}`; a single output stands without its name.

    InvalidRequest if the outputs have no rows, rows of different number, or a dtype that JSON cannot hold.
    """
    if by_row:
        _require_rows(outputs)
    values = {name: _writable(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        (content,) = values.values()
    elif by_row:
        content = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        content = values
    return _dumps({"predictions" if by_row else "outputs": content}, outputs)


def _require_rows(outputs: Mapping[str, Array]) -> None:
    rows: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidRequest(f"Tensor name: {name} has no shape information ")
        if rows is not None and len(array) != rows:
            raise InvalidRequest(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}")
        rows = len(array)


def _writable(name: str, array: Array) -> Any:
    if array.dtype.kind == "O":
        return _texts(array, as_base64=name.endswith("_bytes"))
    if array.dtype.kind not in "fiub":
        raise InvalidRequest(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    return array if array.ndim else array[()]


def _texts(array: Array, *, as_base64: bool) -> Any:
    """Nested lists of strings; of `{"b64": …}` for outputs whose name says they are bytes."""
    texts = np.empty(array.size, object)
    if as_base64:
        texts[:] = [{"b64": base64.b64encode(item).decode("ascii")} for item in array.ravel()]
    else:
        texts[:] = [item.decode("utf-8", "surrogateescape") for item in array.ravel()]
    return texts.reshape(array.shape).tolist()


def _dumps(document: dict[str, Any], outputs: Mapping[str, Array]) -> bytes:
    try:
        body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # a string holds bytes that are not UTF-8
        return _dumps_leniently(document)
    # orjson writes NaN and Infinity as null, which nothing else is; a text may hold the word, so look again.
    if b"null" in body and not all(map(_is_finite, outputs.values())):
        return _dumps_leniently(document)
    return body


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _dumps_leniently(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, default=_as_lists, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogateescape")


def _as_lists(value: Any) -> Any:
    """A numpy value for the standard library, short floats with as few digits as name them."""
    if value.dtype.kind == "f" and value.dtype.itemsize < np.dtype(np.float64).itemsize:
        return value.astype(str).astype(np.float64).tolist()
    return value.tolist()
