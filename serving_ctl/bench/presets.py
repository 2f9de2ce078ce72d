"""Presets: named tests of ``presets.toml``, and the three profiles that say how long a cell lasts (rule R8)."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from serving_ctl.config import Settings, TomlTable, config_file, convert_table, nearest, templates_dir, user_config_dir
from serving_ctl.errors import ConfigError
from serving_ctl.events import Ladder

FILE_NAME = "presets.toml"
RATE_LIMIT, CLIENT_LIMIT = "rate-limit", "client-limit"
SEARCHES = {RATE_LIMIT, CLIENT_LIMIT}
"""Ladders whose cell is a search for the highest load that holds a p99."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How thorough a run is: rounds, and both minima of a cell."""

    rounds: int
    min_seconds: float
    min_requests: int


PROFILES: dict[str, Profile] = {
    "quick": Profile(rounds=4, min_seconds=1.0, min_requests=30),
    "standard": Profile(rounds=6, min_seconds=3.0, min_requests=100),
    "publish": Profile(rounds=10, min_seconds=10.0, min_requests=1000),
}


class LadderTable(TomlTable, frozen=True):
    """One entry of ``ladders``."""

    kind: Literal["batch", "concurrency", "rate-limit", "client-limit"]
    sizes: tuple[int, ...]
    """Instances a request (batch), clients (concurrency) or p99 limits in ms (the two searches), ascending."""
    name: str = ""
    """Heading of its table; empty takes the preset's name, or the kind when the preset has several ladders."""
    clients: int = 1
    """Batch ladders: simultaneous clients."""
    batch: int = 1
    """Concurrency ladders and searches: instances a request."""
    form: Literal["", "row", "column"] = ""
    """JSON form of this ladder; empty takes the preset's."""
    gzip: bool = False
    """Send this ladder's bodies compressed, whatever the preset says."""


class FlaskOverride(TomlTable, frozen=True, omit_defaults=True):
    """What a preset wants of [flask]; what is left out is as in the settings."""

    worker_class: Literal["", "sync", "gthread"] = ""
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    workers: Annotated[int, msgspec.Meta(ge=0)] = 0


class ServingOverride(TomlTable, frozen=True, omit_defaults=True):
    """What a preset wants of [tf-serving]."""

    batching: bool = False


class Preset(TomlTable, frozen=True):
    """One table of presets.toml; what is left out is taken from the profile."""

    title: str
    ladders: tuple[LadderTable, ...]
    key: Annotated[str, msgspec.Meta(pattern="^[0-9]?$")] = ""
    """Number key of the terminal UI, one digit or none; a later preset takes it from an earlier one."""
    form: Literal["row", "column"] = "row"
    """``row`` sends instances, ``column`` sends inputs."""
    gzip: bool = False
    """Send bodies compressed; the server unpacks them inside the measured time."""
    flask: FlaskOverride = FlaskOverride()
    tf_serving: ServingOverride = ServingOverride()
    rounds: int | None = None
    min_seconds: float | None = None
    min_requests: int | None = None
    warmup_seconds: float = 1.0


def load_presets() -> dict[str, Preset]:
    """All presets by name: the shipped ones, the user's, those of ./configs; a later name replaces an earlier.

    Raises ConfigError naming file, preset, key and the nearest known key.
    """
    files = dict.fromkeys(
        path.resolve()
        for path in (templates_dir() / FILE_NAME, user_config_dir() / FILE_NAME, config_file(FILE_NAME))
        if path.is_file()
    )
    return own_keys({name: preset for path in files for name, preset in _read(path).items()})


def own_keys(presets: dict[str, Preset]) -> dict[str, Preset]:
    """The presets, where of several with one number key the last has it."""
    owners = {preset.key: name for name, preset in presets.items()}
    return {
        name: preset if owners[preset.key] == name else msgspec.structs.replace(preset, key="")
        for name, preset in presets.items()
    }


def parse_preset(name: str, table: dict[str, Any]) -> Preset:
    """The preset of one table. Raises ConfigError naming the key and the nearest known one."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ConfigError(f"preset name {name!r}: letters, digits, '-' and '_' only.")
    return _checked(convert_table(table, Preset, f"[{name}]"), name, f"[{name}]")


def save_preset(name: str, preset: Preset) -> Path:
    """Write ``preset`` into the user's presets.toml in place of one of that name; returns the file.

    What else the file holds stays as it is. Raises ConfigError when it cannot be written or read back.
    """
    path = user_config_dir() / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        kept = re.sub(rf"(?ms)^\[{re.escape(name)}\]\n.*?(?=^\[|\Z)", "", text)
        unfinished = path.with_name(f".{FILE_NAME}.unfinished")
        unfinished.write_text(f"{kept.rstrip()}\n\n{preset_toml(name, preset)}".lstrip(), encoding="utf-8")
        _read(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None
    return path


def preset_toml(name: str, preset: Preset) -> str:
    """The preset's table as TOML; what is left to the profile is left out."""
    table = {key: value for key, value in msgspec.to_builtins(preset).items() if value is not None}
    return "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]) + "\n"


def _toml(value: Any) -> str:
    """A value in TOML: JSON's spelling but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)


def choose_preset(presets: dict[str, Preset], name: str) -> Preset:
    """The preset called ``name``; raises ConfigError with the nearest known name."""
    if name not in presets:
        raise ConfigError(f"unknown preset {name!r}; {nearest(name, list(presets))}")
    return presets[name]


def _read(path: Path) -> dict[str, Preset]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from None
    return {
        name: _checked(convert_table(table, Preset, f"{path}: [{name}]"), name, f"{path}: [{name}]")
        for name, table in tables.items()
    }


def named_ladders(name: str, preset: Preset) -> tuple[Ladder, ...]:
    """The preset's ladders, each with a name: its own, else the preset's when it stands alone, else its kind."""
    alone = len(preset.ladders) == 1
    return tuple(
        Ladder(
            name=table.name or (name if alone else table.kind),
            kind=table.kind,
            sizes=table.sizes,
            clients=table.clients,
            batch=table.batch,
            form=table.form or preset.form,
            gzip=table.gzip or preset.gzip,
        )
        for table in preset.ladders
    )


def settings_for(preset: Preset, settings: Settings) -> Settings:
    """``settings`` with what the preset wants otherwise."""
    wanted = msgspec.structs.asdict(preset.flask)
    flask = msgspec.structs.replace(settings.flask, **{key: value for key, value in wanted.items() if value})
    serving = settings.tf_serving
    if preset.tf_serving.batching:
        serving = msgspec.structs.replace(serving, batching=True)
    return msgspec.structs.replace(settings, flask=flask, tf_serving=serving)


def _checked(preset: Preset, name: str, source: str) -> Preset:
    """``preset`` when its numbers make sense; raises ConfigError."""
    if not preset.ladders:
        raise ConfigError(f"{source}: ladders is empty.")
    for ladder in preset.ladders:
        if not ladder.sizes or list(ladder.sizes) != sorted(set(ladder.sizes)) or ladder.sizes[0] < 1:
            raise ConfigError(f"{source}: sizes must be whole numbers from 1, ascending, none twice.")
        if min(ladder.clients, ladder.batch) < 1:
            raise ConfigError(f"{source}: clients and batch must be at least 1.")
    names = [ladder.name for ladder in named_ladders(name, preset)]
    if len(set(names)) < len(names):
        raise ConfigError(f"{source}: two ladders are called {max(names, key=names.count)!r}; give each a name.")
    check_rounds(preset.rounds, source)
    numbers = (preset.min_seconds, preset.min_requests, preset.warmup_seconds)
    if not all(value is None or (value >= 0 and math.isfinite(value)) for value in numbers):
        raise ConfigError(f"{source}: min-seconds, min-requests and warmup-seconds must be numbers from 0.")
    return preset


def check_rounds(rounds: int | None, source: str) -> None:
    """Raise ConfigError unless ``rounds`` is even and at least 2 (AB and BA in equal number, R16)."""
    if rounds is not None and (rounds < 2 or rounds % 2):
        raise ConfigError(
            f"{source}: rounds must be even and at least 2, so that each server goes first equally often."
        )
