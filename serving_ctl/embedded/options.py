"""Command line flags to settings: which flags of ``tensorflow_model_server`` mean something here, and what they mean.

Known flags without a meaning here are taken with a warning, so that one argv serves both servers; unknown ones are
refused (the real server prints its usage and starts anyway).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from serving_ctl.embedded import NAME
from serving_ctl.errors import ConfigError
from serving_ctl.servers.flags import Flag, FlagValue, known_flags, read_value

# Beside the real server's flags.
_OWN_FLAGS = {
    "rest_api_host": Flag("rest_api_host", "string", "127.0.0.1", "Address to listen on for HTTP/REST API."),
    "help": Flag("help", "bool", False, "Show this text."),
}
_HONOURED = [
    "rest_api_host", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms",
    "rest_api_enable_cors_support", "enable_batching", "batching_parameters_file",
    "enable_per_model_batching_parameters", "allow_version_labels_for_unavailable_models", "model_config_file",
    "model_config_file_poll_wait_seconds", "model_name", "model_base_path", "max_num_load_retries",
    "load_retry_interval_micros", "file_system_poll_wait_seconds", "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "saved_model_tags", "enable_model_warmup",
    "num_request_iterations_for_warmup", "monitoring_config_file", "version", "help",
]  # fmt: skip


@dataclass(frozen=True)
class Options:
    """The flags in effect; the names are the flags'."""

    rest_api_host: str
    rest_api_port: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    rest_api_enable_cors_support: bool
    enable_batching: bool
    batching_parameters_file: str
    enable_per_model_batching_parameters: bool
    allow_version_labels_for_unavailable_models: bool
    model_config_file: str
    model_config_file_poll_wait_seconds: int
    model_name: str
    model_base_path: str
    max_num_load_retries: int
    load_retry_interval_micros: int
    file_system_poll_wait_seconds: int
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    saved_model_tags: str
    enable_model_warmup: bool
    num_request_iterations_for_warmup: int
    monitoring_config_file: str
    version: bool
    help: bool


def read_options(argv: Sequence[str]) -> tuple[Options, list[str]]:
    """The options in ``argv`` and the warnings about flags that have no meaning here.

    Flags read ``--name=value``, ``--name value``, or ``--name`` alone for a bool. Raises ConfigError.
    """
    flags = {**known_flags(), **_OWN_FLAGS}
    given = _given(argv, flags)
    values: dict[str, FlagValue] = {name: flags[name].default for name in _HONOURED}
    values["rest_api_num_threads"] = 4 * (os.cpu_count() or 1)
    values.update({name: value for name, value in given.items() if name in values})
    warnings = [f"--{name} means nothing to the {NAME} server and is passed over" for name in given.keys() - values]
    options = Options(**values)  # type: ignore[arg-type] # each value was read as its flag's type
    if not (options.version or options.help):
        _check(options)
    return options, sorted(warnings)


def _given(argv: Sequence[str], flags: dict[str, Flag]) -> dict[str, FlagValue]:
    given: dict[str, FlagValue] = {}
    words = list(argv)
    while words:
        name, equals, text = words.pop(0).partition("=")
        flag = flags.get(name.removeprefix("--")) if name.startswith("--") else None
        if flag is None:
            raise ConfigError(_unknown(name, flags))
        if not equals and flag.type == "bool":
            text = "true"
        elif not equals:
            if not words:
                raise ConfigError(f"{name} needs a value: {name}=…")
            text = words.pop(0)
        given[flag.name] = read_value(flag.name, flag.type, text)
    return given


def _unknown(name: str, flags: dict[str, Flag]) -> str:
    near = difflib.get_close_matches(name.removeprefix("--"), flags, 1)
    return f"unknown flag {name}" + (f"; did you mean --{near[0]}?" if near else "; --help lists the known ones")


def _check(options: Options) -> None:
    if not options.model_config_file and not options.model_base_path:
        raise ConfigError("give --model_base_path (with --model_name), or --model_config_file")
    if not 0 <= options.rest_api_port <= 65535:
        raise ConfigError(f"--rest_api_port={options.rest_api_port} is no port; give 0 to 65535 (0: any free one)")
    if options.rest_api_num_threads < 1:
        raise ConfigError(f"--rest_api_num_threads={options.rest_api_num_threads}: at least one thread is needed")
    if options.batching_parameters_file and not options.enable_batching:
        # The real server refuses this too, as its start error.
        raise ConfigError("--batching_parameters_file is set without setting --enable_batching to true")


def help_text() -> str:
    """The flags that mean something here, with default and help."""
    flags = {**known_flags(), **_OWN_FLAGS}
    lines = [f"usage: python -m serving_ctl.embedded   {NAME}", "Flags:"]
    for name in _HONOURED:
        flag = flags[name]
        default = f'"{flag.default}"' if flag.type == "string" else str(flag.default).lower()
        lines.append(f"\t--{f'{name}={default}':<33}\t{flag.type}\t{flag.help}")
    others = sorted(flags.keys() - set(_HONOURED))
    return "\n".join([*lines, f"Taken with a warning: {', '.join(f'--{name}' for name in others)}"])
