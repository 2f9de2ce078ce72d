"""The flags of ``tensorflow_model_server``: name, type, default and help, and how a value is read.

The list is the server's own ``--help`` (2.20), kept beside this file as ``flags-2.20.txt``; ``parse_help`` reads the
``--help`` of any other release in the same way. Which flags contradict each other is said in ``chosen_flags.py``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from serving_ctl.errors import ConfigError

FlagType = Literal["int32", "int64", "bool", "float", "string"]
FlagValue = int | float | bool | str

_HELP_FILE = Path(__file__).with_name("flags-2.20.txt")
_HELP_LINE = re.compile(
    r"^\s*--(?P<name>\w+)=(?P<default>.*?)\s*\t(?P<type>int32|int64|bool|float|string)\t(?P<help>.*)$"
)
_INTEGER_BITS = {"int32": 31, "int64": 63}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Flag:
    """One flag as ``--help`` describes it; ``default`` is already a value of ``type``."""

    name: str
    type: FlagType
    default: FlagValue
    help: str


def parse_help(text: str) -> dict[str, Flag]:
    """Every flag in the output of ``tensorflow_model_server --help``, by name; other lines are passed over."""
    flags: dict[str, Flag] = {}
    for match in filter(None, map(_HELP_LINE.match, text.splitlines())):
        name, kind = match["name"], cast("FlagType", match["type"])
        flags[name] = Flag(name, kind, read_value(name, kind, match["default"].strip('"')), match["help"].strip())
    return flags


@functools.cache
def known_flags() -> dict[str, Flag]:
    """The flags of TensorFlow Serving 2.20, by name."""
    return parse_help(_HELP_FILE.read_text(encoding="utf-8"))


def read_value(name: str, kind: FlagType, text: str) -> FlagValue:
    """The value of flag ``name`` written as ``text``.

    Raises ConfigError if ``text`` is no value of ``kind`` (whole numbers must fit their 32 or 64 bits).
    """
    try:
        if kind == "string":
            return text
        if kind == "bool":
            return _BOOLEANS[text.lower()]
        if kind == "float":
            return float(text)
        number = int(text)
    except (ValueError, KeyError):
        raise ConfigError(f"--{name}={text} is no {kind} value; give {example(kind)}") from None
    if not -(1 << _INTEGER_BITS[kind]) <= number < 1 << _INTEGER_BITS[kind]:
        raise ConfigError(f"--{name}={text} does not fit {kind}")
    return number


def example(kind: FlagType) -> str:
    """What a value of ``kind`` looks like, in words."""
    words = {"bool": "true or false", "float": "a number such as 0.5", "string": "a text in quotes"}
    return words.get(kind, "a whole number")
