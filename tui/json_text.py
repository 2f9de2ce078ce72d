"""JSON as people read it: short lists on one line, a very long document cut with a sentence that says so."""

from __future__ import annotations

import json
from typing import Any

from serving_ctl import formatting

LINE_COLUMNS = 60
LINES_MOST = 2_000
"""Lines that are shown of an answer; a batch of 10,000 has more than a screen can scroll through without delay."""


def json_text(value: Any) -> str:
    """All of ``value``, indented by two."""
    return "\n".join(_lines(value, "", ""))


def shortened(text: str, most: int = LINES_MOST) -> str:
    """The first lines of ``text``, and how many more there are."""
    lines = text.split("\n")
    return (
        text
        if len(lines) <= most
        else "\n".join([*lines[:most], f"… and {formatting.plural(len(lines) - most, 'line')} more"])
    )


def _lines(value: Any, indent: str, head: str) -> list[str]:
    """``value`` behind ``head``; what fits into a line stays on one."""
    flat = json.dumps(value, ensure_ascii=False)
    nested = isinstance(value, dict | list) and value
    if not nested or (isinstance(value, list) and len(indent) + len(head) + len(flat) <= LINE_COLUMNS):
        return [f"{indent}{head}{flat}"]
    pairs = (
        [(f"{json.dumps(key, ensure_ascii=False)}: ", one) for key, one in value.items()]
        if isinstance(value, dict)
        else [("", one) for one in value]
    )
    brackets = "{}" if isinstance(value, dict) else "[]"
    lines = [f"{indent}{head}{brackets[0]}"]
    for number, (name, one) in enumerate(pairs, 1):
        inner = _lines(one, f"{indent}  ", name)
        inner[-1] += "," if number < len(pairs) else ""
        lines += inner
    return [*lines, f"{indent}{brackets[1]}"]
