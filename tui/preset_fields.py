"""The fields of the preset form: a preset's table ⇄ texts that a user edits. No widget here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from serving_ctl.errors import ConfigError


class Field(NamedTuple):
    """One line of the form. ``key`` is the TOML key; a ladder's field has its number before it: ``0.sizes``."""

    key: str
    label: str
    kind: str
    """``text``, ``int``, ``float``, ``sizes``, or ``choice`` (of ``options``)."""
    options: tuple[str, ...] = ()


class WrongField(ConfigError):
    """What stands in ``field`` cannot be a value of it."""

    def __init__(self, field: Field, problem: str) -> None:
        super().__init__(f"{field.label}: {problem}")
        self.field, self.problem = field, problem


PRESET_FIELDS = (
    Field("title", "title", "text"),
    Field("key", "number key, 0 … 9 or none", "text"),
    Field("rounds", "rounds, even; empty: the profile's", "int"),
    Field("min-seconds", "least seconds a cell; empty: the profile's", "float"),
    Field("min-requests", "least requests a cell; empty: the profile's", "int"),
    Field("warmup-seconds", "warm-up seconds", "float"),
    Field("form", "JSON form", "choice", ("row", "column")),
    Field("gzip", "compressed bodies", "choice", ("no", "yes")),
)
_SEARCH = (Field("sizes", "p99 limits, ms", "sizes"), Field("batch", "instances a request", "int"))
LADDER_FIELDS = {
    "rate-limit": _SEARCH,
    "client-limit": _SEARCH,
    "batch": (Field("sizes", "batch sizes", "sizes"), Field("clients", "clients at a time", "int")),
    "concurrency": (Field("sizes", "numbers of clients", "sizes"), Field("batch", "instances a request", "int")),
}


def fields_of(table: Mapping[str, Any]) -> tuple[Field, ...]:
    """The form of a preset: its own fields, then those of each ladder."""
    several = len(table["ladders"]) > 1
    ladders = [
        Field(f"{number}.{field.key}", f"{ladder_title(ladder)}{field.label}" if several else field.label, field.kind)
        for number, ladder in enumerate(table["ladders"])
        for field in LADDER_FIELDS[ladder["kind"]]
    ]
    return (PRESET_FIELDS[0], *ladders, *PRESET_FIELDS[1:])


def ladder_title(ladder: Mapping[str, Any]) -> str:
    """What stands before the fields of one ladder of several."""
    return f"{ladder['name'] or ladder['kind']}: "


def guilty(problem: str, fields: Sequence[Field], changed: Collection[str]) -> Field | None:
    """The field that the engine's ``problem`` is about: of the ``changed`` ones the first whose key it names."""
    for field in fields:
        key = field.key.rpartition(".")[2]
        if field.key in changed and re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", problem):
            return field
    return None


def text_of(table: Mapping[str, Any], field: Field) -> str:
    """What stands in the field."""
    value = _place(table, field)
    if field.kind == "sizes":
        return " ".join(str(size) for size in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def table_of(table: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """``table`` with the edited ``texts`` by field key. Raises WrongField."""
    changed: dict[str, Any] = {**table, "ladders": [dict(ladder) for ladder in table["ladders"]]}
    for field in fields_of(table):
        value = _value(field, texts[field.key].strip())
        number, _, key = field.key.rpartition(".")
        target = changed["ladders"][int(number)] if number else changed
        target[key] = value
    return {key: value for key, value in changed.items() if value is not None}


def _place(table: Mapping[str, Any], field: Field) -> Any:
    number, _, key = field.key.rpartition(".")
    return table["ladders"][int(number)][key] if number else table[key]


def _value(field: Field, text: str) -> Any:
    try:
        match field.kind:
            case "sizes":
                return [int(part) for part in text.replace(",", " ").split()]
            case "int":
                return int(text) if text else None
            case "float":
                return float(text) if text else None
            case "choice" if field.key == "gzip":
                return text == "yes"
    except ValueError:
        wanted = {"sizes": "whole numbers", "int": "a whole number"}.get(field.kind, "a number")
        raise WrongField(field, f"give {wanted}, not {text!r}.") from None
    return text
