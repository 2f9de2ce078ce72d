"""The flags of ``[tf-serving.flags]`` and ``batching``: checked against the server's own list, and as it is given them.

A flag that names a file (``…_file``) gets a copy of it in the effective config folder, which every runtime sees.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from serving_ctl.api.server_config_pb2 import BatchingParameters
from serving_ctl.config import TfServingSettings, config_file, nearest
from serving_ctl.errors import ConfigError
from serving_ctl.servers.configs import BATCHING, parse
from serving_ctl.servers.flags import Flag, FlagValue, example, read_value

TABLE = "[tf-serving.flags]"
DEFAULT_MAX_BATCH = 1000  # of TensorFlow Serving, with batching on and no file (tf-serving.md)
ENABLE, BATCHING_FILE = "enable_batching", "batching_parameters_file"
_NO_GRPC = "gRPC is not measured here"
_OURS = {
    "port": _NO_GRPC,
    "grpc_socket_path": _NO_GRPC,
    "ssl_config_file": _NO_GRPC,
    "rest_api_port": "use [tf-serving] port",
    "rest_api_num_threads": "use [tf-serving] rest-threads",
    "rest_api_timeout_in_ms": "use [bench] timeout-s, which client and servers share",
    "tensorflow_intra_op_parallelism": "use [tf-serving] intra-op-threads, which both servers share",
    "tensorflow_inter_op_parallelism": "use [tf-serving] inter-op-threads, which both servers share",
    "model_name": "use [model] name",
    "model_base_path": "use [model] path",
    "model_config_file": "edit configs/models.config",
    "monitoring_config_file": "edit configs/monitoring.config",
    "version": "it starts no server",
}
_TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "string": (str,), "float": (int, float)}


def flags_in_force(serving: TfServingSettings) -> dict[str, FlagValue]:
    """The flags by name; ``batching = true`` stands for the two that it takes."""
    if not serving.batching:
        return dict(serving.flags)
    return {ENABLE: True, BATCHING_FILE: str(config_file(BATCHING)), **serving.flags}


def settable(known: dict[str, Flag]) -> dict[str, Flag]:
    """The flags that may be set here: those that no other setting stands for."""
    return {name: flag for name, flag in known.items() if name not in _OURS}


def check_flags(serving: TfServingSettings, known: dict[str, Flag]) -> None:
    """Raise ConfigError for a flag that is unknown, ours, of the wrong type, or contradicts another."""
    flags = flags_in_force(serving)
    for name, value in flags.items():
        _check_flag(name, value, known)
    if flags.get(BATCHING_FILE) and flags.get(ENABLE) is not True:
        raise ConfigError(f"{TABLE} {BATCHING_FILE} needs {ENABLE} = true.")
    if flags.get("enable_per_model_batching_parameters") and flags.get(ENABLE) is not True:
        raise ConfigError(f"{TABLE} enable_per_model_batching_parameters needs {ENABLE} = true.")
    if flags.get("platform_config_file") and flags.get(ENABLE):
        raise ConfigError(f"{TABLE} platform_config_file makes the server ignore {ENABLE}: leave one of them out.")
    for name, source in _sources(serving).items():
        if not source.is_file():
            raise ConfigError(f"{TABLE} {name}: there is no file {source}.")
    batching_maximum(serving)


def flag_arguments(serving: TfServingSettings, config_folder: str) -> list[str]:
    """The flags as the server's arguments; ``config_folder`` as the server sees it."""
    sources = _sources(serving)
    words = []
    for name, value in flags_in_force(serving).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words.append(f"--{name}={f'{config_folder}/{copy_name(name)}' if name in sources else text}")
    return words


def flag_files(serving: TfServingSettings) -> dict[str, Path]:
    """What to copy into the config folder: file name there, and source."""
    return {copy_name(name): source for name, source in _sources(serving).items()}


def batching_maximum(serving: TfServingSettings) -> int | None:
    """The largest batch the server takes; None without server-side batching. Raises ConfigError for a bad file."""
    if flags_in_force(serving).get(ENABLE) is not True:
        return None
    source = _sources(serving).get(BATCHING_FILE)
    if source is None:
        return DEFAULT_MAX_BATCH
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read: {error}") from None
    parameters = parse(text, BatchingParameters, source)
    return int(parameters.max_batch_size.value) if parameters.HasField("max_batch_size") else DEFAULT_MAX_BATCH


def _check_flag(name: str, value: FlagValue, known: dict[str, Flag]) -> None:
    if name in _OURS:
        raise ConfigError(f"{TABLE} {name} is not set here: {_OURS[name]}.")
    flag = known.get(name)
    if flag is None:
        near = nearest(name, list(settable(known)))
        raise ConfigError(f"{TABLE} the server has no flag {name!r}" + (f"; {near}" if "did you" in near else "."))
    allowed = _TYPES.get(flag.type, (int,))
    if not isinstance(value, allowed) or (isinstance(value, bool) and flag.type != "bool"):
        raise ConfigError(f"{TABLE} {name} = {value!r} is no {flag.type}; give {example(flag.type)}.")
    read_value(name, flag.type, str(value))


def _sources(serving: TfServingSettings) -> dict[str, Path]:
    """The files that flags name, by flag."""
    return {
        name: Path(cast("str", value)).expanduser().absolute()
        for name, value in flags_in_force(serving).items()
        if name.endswith("_file") and value
    }


def copy_name(flag: str) -> str:
    """What the copy of a flag's file is called in the config folder."""
    return f"{flag.removesuffix('_file')}.config"
