"""JSON values to NumPy arrays, for the dtypes and with the error texts of TensorFlow Serving's REST API.

Two ways to the same array: ``plain_tensor`` handles a whole tensor at once, level by level and never number by number,
and refuses whatever is not plainly right; ``_Filler`` then walks the values one by one, as the real server does, and
finds either the array or the exact error. Nothing here knows models or HTTP.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving_ctl.embedded.json_text import json_text, type_name
from serving_ctl.embedded.status import StatusError, invalid

Tensor = NDArray[Any]

_INT32 = (-(1 << 31), (1 << 31) - 1)
_INT64 = (-(1 << 63), (1 << 63) - 1)
# dtype name in TensorFlow -> (NumPy type, range of the JSON integers it takes); narrow types wrap as the real one does
_INTEGERS: dict[str, tuple[type[np.generic], tuple[int, int]]] = {
    "int32": (np.int32, _INT32),
    "int16": (np.int16, _INT32),
    "int8": (np.int8, _INT32),
    "uint8": (np.uint8, _INT32),
    "int64": (np.int64, _INT64),
    "uint32": (np.uint32, (0, (1 << 32) - 1)),
    "uint64": (np.uint64, (0, (1 << 64) - 1)),
}
# Largest whole number written without a fraction that converts without loss: 2^digits − 1.
_DECIMALS: dict[str, tuple[type[np.floating[Any]], int]] = {
    "float": (np.float32, (1 << 24) - 1),
    "double": (np.float64, (1 << 53) - 1),
}
_MOST_DIMENSIONS = 254  # TensorFlow's TensorShape


class NotPlain(Exception):
    """The fast way cannot tell; the values have to be looked at one by one."""


def tensor_from_json(value: Any, dtype: str) -> Tensor:
    """The tensor that a JSON value (a scalar or nested lists) stands for.

    ``dtype`` is TensorFlow's name (``float``, ``int32``, ``string``, …); strings come as an object array of bytes.
    Raises StatusError with the real server's text if the value has no such tensor.
    """
    try:
        return plain_tensor(value, dtype)
    except NotPlain:
        return _Filler(value, dtype).tensor()


def plain_tensor(value: Any, dtype: str) -> Tensor:
    """The tensor if every level is lists of one length and every leaf of one fitting type; else NotPlain."""
    shape: list[int] = []
    leaves = [value]
    kinds = {type(value)}
    while kinds == {list}:
        lengths = set(map(len, leaves))
        if len(lengths) != 1 or len(shape) >= _MOST_DIMENSIONS:
            raise NotPlain
        shape.append(lengths.pop())
        leaves = list(itertools.chain.from_iterable(leaves)) if len(shape) > 1 else value
        kinds = set(map(type, leaves))
    return _flat(leaves, kinds, dtype).reshape(shape)


def _flat(leaves: list[Any], kinds: set[type], dtype: str) -> Tensor:
    if dtype in _DECIMALS and kinds and kinds <= {int, float}:
        return _decimals(leaves, kinds, dtype)
    if dtype in _INTEGERS and kinds == {int}:
        return _integers(leaves, dtype)
    if dtype == "bool" and kinds == {bool}:
        return np.array(leaves, np.bool_)
    if dtype == "string" and kinds == {str}:
        return _strings(leaves)
    raise NotPlain


def _decimals(leaves: list[Any], kinds: set[type], dtype: str) -> Tensor:
    kind, exact = _DECIMALS[dtype]
    try:
        wide = np.array(leaves, np.float64)
    except OverflowError:
        raise NotPlain from None
    if int in kinds:
        lossless = bool((np.abs(wide) <= exact).all())
    else:
        lossless = dtype == "double" or bool((np.abs(wide) <= np.finfo(np.float32).max).all())
    if not lossless:
        raise NotPlain
    return wide.astype(kind, copy=False)


def _integers(leaves: list[Any], dtype: str) -> Tensor:
    kind, (least, most) = _INTEGERS[dtype]
    try:
        wide = np.array(leaves, np.uint64 if dtype == "uint64" else np.int64)
    except OverflowError:
        raise NotPlain from None
    if dtype not in ("int64", "uint64") and (int(wide.min()) < least or int(wide.max()) > most):
        raise NotPlain
    return wide.astype(kind, copy=False)


def _strings(leaves: list[Any]) -> Tensor:
    tensor = np.empty(len(leaves), object)
    tensor[:] = [text.encode("utf-8", "surrogateescape") for text in leaves]
    return tensor


class _Filler:
    """One JSON value walked leaf by leaf: where the fast way gives up, this finds the array or the error's text."""

    def __init__(self, value: Any, dtype: str) -> None:
        self._value = value
        self._dtype = dtype
        self._shape: list[int] = []
        self._leaves: list[Any] = []

    def tensor(self) -> Tensor:
        """The tensor; StatusError names the first value that does not fit, in the order of the document."""
        first = self._value
        while isinstance(first, list):
            self._shape.append(len(first))
            first = first[0] if first else None
        if len(self._shape) > _MOST_DIMENSIONS:
            raise invalid(f"Shape has too many dimensions: got {len(self._shape)}, max {_MOST_DIMENSIONS}")
        self._fill(self._value, 0)
        if self._dtype == "string":
            flat = np.empty(len(self._leaves), object)
            flat[:] = self._leaves
        else:
            flat = np.array(self._leaves, _wide_type(self._dtype)).astype(_type(self._dtype))
        return flat.reshape(self._shape)

    def _fill(self, value: Any, level: int) -> None:
        rank = len(self._shape)
        if not isinstance(value, list):
            if level != rank:
                raise invalid(
                    f"JSON Value: {json_text(value)} found at incorrect level: {level + 1}"
                    f" in the JSON DOM. Expected at level: {rank}"
                )
            self._leaves.append(_leaf(value, self._dtype))
            return
        if level >= rank:
            raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != self._shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level}"
                f" expected size: {self._shape[level]}"
            )
        for item in value:
            self._fill(item, level + 1)


def _wide_type(dtype: str) -> type[np.generic]:
    if dtype in _DECIMALS:
        return np.float64
    if dtype == "uint64":
        return np.uint64
    return np.int64 if dtype in _INTEGERS else np.bool_


def _type(dtype: str) -> type[np.generic]:
    known = {**_DECIMALS, **_INTEGERS}.get(dtype)
    return known[0] if known else np.bool_


def _leaf(value: Any, dtype: str) -> Any:
    """One leaf as a Python value fit for ``dtype``; StatusError otherwise."""
    if isinstance(value, dict):
        if dtype != "string":
            raise _type_error(value, dtype)
        return decode_base64(value)
    convert = _LEAVES.get(dtype)
    if convert is None:
        raise StatusError("UNIMPLEMENTED", f"Conversion of JSON Value: {json_text(value)} to type: {dtype}")
    return convert(value, dtype)


def _decimal_leaf(value: Any, dtype: str) -> float:
    if type(value) not in (int, float):
        raise _type_error(value, dtype)
    kind, exact = _DECIMALS[dtype]
    number = float(value)
    whole = type(value) is int and _INT64[0] <= value < 1 << 64
    fits = abs(value) <= exact if whole else not abs(number) > float(np.finfo(kind).max) or abs(number) == np.inf
    if not fits:
        raise invalid(f"Cannot convert JSON value: {json_text(value)} to {dtype} without loss of precision.")
    return number


def _integer_leaf(value: Any, dtype: str) -> int:
    least, most = _INTEGERS[dtype][1]
    if type(value) is not int or not least <= value <= most:
        raise _type_error(value, dtype)
    return value


def _bool_leaf(value: Any, dtype: str) -> bool:
    if type(value) is not bool:
        raise _type_error(value, dtype)
    return value


def _string_leaf(value: Any, dtype: str) -> bytes:
    if type(value) is not str:
        raise _type_error(value, dtype)
    return value.encode("utf-8", "surrogateescape")


_LEAVES: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(_DECIMALS, _decimal_leaf),
    **dict.fromkeys(_INTEGERS, _integer_leaf),
    "bool": _bool_leaf,
    "string": _string_leaf,
}


def _type_error(value: Any, dtype: str) -> StatusError:
    text = f"JSON Value: {json_text(value)} Type: {type_name(value)} is not of expected type: {dtype}"
    return invalid(text)


def is_base64(value: Any) -> bool:
    """Whether a JSON value is ``{"b64": "<text>"}``, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Mapping[str, Any]) -> bytes:
    """The bytes of a ``{"b64": …}`` object; StatusError if it is another object or no base64.

    Like the real server's decoder it takes missing padding and ignores blanks.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {json_text(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    try:
        return base64.b64decode(text + "=" * (-len(text.rstrip("=")) % 4 if "=" not in text else 0), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None
