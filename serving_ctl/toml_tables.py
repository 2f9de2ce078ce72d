"""TOML tables as typed values: what does not fit is an error that names file, key and the nearest known key."""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from serving_ctl.errors import ConfigError

T = TypeVar("T")


def read_toml(path: Path, kind: type[T]) -> T:
    """The TOML file ``path`` as a ``kind``; raises ConfigError naming file, key and the nearest known key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; leave --config out to use the shipped settings.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return convert_table(table, kind, path)


def convert_table(table: Any, kind: type[T], source: str | Path) -> T:
    """``table`` as a ``kind``; raises ConfigError naming ``source``, the key and the nearest known key."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), kind)}") from None


def _explain(text: str, kind: Any) -> str:
    """msgspec's message with the key in TOML's terms and, for an unknown key, the nearest known one."""
    message, _, where = text.partition(" - at `$")
    path = [part for part in re.split(r"[.\[\]]+", where.rstrip("`")) if part]
    unknown = re.match(r"Object contains unknown field `(.+)`", message)
    if not unknown:
        value = re.match(r"Invalid enum value '(.*)'", message)
        hint = f"; {nearest(value.group(1), _choices(kind, path))}" if value else ""
        return f"{'.'.join(path) or 'file'}: {message[:1].lower()}{message[1:]}{hint}"
    key = unknown.group(1)
    known = _keys_at(kind, path)
    table = f"[{'.'.join(path)}] " if path else ""
    return f"{table}unknown key {key!r}; {nearest(key, known)}"


def nearest(word: str, known: list[str]) -> str:
    """A hint after an unknown word: the nearest known one, else all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."


def _keys_at(kind: Any, path: list[str]) -> list[str]:
    """The keys of the table at ``path`` below ``kind``, in TOML's spelling."""
    for part in path:
        kind = _value_type(kind, part)
    return [field.encode_name for field in msgspec.structs.fields(kind)] if _is_struct(kind) else []


def _choices(kind: Any, path: list[str]) -> list[str]:
    """The words allowed for the value at ``path``; none when it is not a choice of words."""
    for part in path:
        kind = _value_type(kind, part)
    return list(typing.get_args(kind)) if typing.get_origin(kind) is Literal else []


def _value_type(kind: Any, key: str) -> Any:
    if _is_struct(kind):
        return next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == key), None)
    return next((argument for argument in reversed(typing.get_args(kind)) if argument is not ...), None)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
