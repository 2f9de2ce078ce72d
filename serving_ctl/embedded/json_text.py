"""A JSON value as RapidJSON's pretty writer prints it inside error texts: four spaces, arrays on one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

# The real server prints the whole value. A text longer than this is cut, so that an error about a body of 100 MB
# is not itself 100 MB.
LONGEST = 65_536

_EXPONENT_SIGN = re.compile(r"e\+?(-?)0*")


def json_text(value: Any) -> str:
    """``value`` as text, at most ``LONGEST`` characters; depth costs no recursion."""
    parts: list[str] = []
    length = 0
    for part in _parts(value):
        parts.append(part)
        length += len(part)
        if length > LONGEST:
            return "".join(parts)[:LONGEST] + "..."
    return "".join(parts)


def type_name(value: Any) -> str:
    """RapidJSON's name of the value's type, as error texts have it."""
    if isinstance(value, bool):
        return "True" if value else "False"
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", type(None): "Null"}
    return names.get(type(value), "Number")


def _parts(value: Any) -> Iterator[str]:
    stack = [iter(_value_parts(value, 0))]
    while stack:
        part = next(stack[-1], None)
        if part is None:
            stack.pop()
        elif isinstance(part, str):
            yield part
        else:
            stack.append(iter(_value_parts(*part)))


def _value_parts(value: Any, level: int) -> Iterator[str | tuple[Any, int]]:
    """The pieces of one value; a nested value is handed out as (value, level) for the caller to open."""
    if isinstance(value, dict):
        return _object_parts(value, level)
    if isinstance(value, list):
        return _array_parts(value, level)
    return iter([_scalar(value)])


def _object_parts(value: dict[str, Any], level: int) -> Iterator[str | tuple[Any, int]]:
    separator = "{\n"
    for key, item in value.items():
        yield f"{separator}{' ' * 4 * (level + 1)}{json.dumps(key, ensure_ascii=False)}: "
        yield item, level + 1
        separator = ",\n"
    yield f"\n{' ' * 4 * level}}}" if value else "{}"


def _array_parts(value: list[Any], level: int) -> Iterator[str | tuple[Any, int]]:
    yield "["
    for index, item in enumerate(value):
        if index:
            yield ", "
        yield item, level + 1
    yield "]"


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)


def number_text(value: float) -> str:
    """A double as RapidJSON writes it: shortest digits, ``1e30`` without sign or padding in the exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return _EXPONENT_SIGN.sub(r"e\1", repr(value))
