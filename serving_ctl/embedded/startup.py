"""What can go wrong before TensorFlow is needed: port and config files. Each is one line on stderr and an exit code.

``serve`` ends with the server running; the seconds TensorFlow takes to import are spent only when all else is right.
"""

from __future__ import annotations

import errno
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving_ctl.embedded.config_files import (
    BatchingParameters,
    ModelConfig,
    read_batching,
    read_metrics_path,
    read_models,
)
from serving_ctl.embedded.options import Options
from serving_ctl.embedded.status import StatusError

START_FAILED = 255  # the real server's exit code
PORT_TAKEN = 1
_FILES = 65_536


@dataclass(frozen=True)
class Configured:
    """What the flags and the files they name ask for; ``models`` reads its file again at each call."""

    models: Callable[[], list[ModelConfig]]
    metrics_path: str | None
    batching: BatchingParameters | None


def serve(options: Options) -> int:
    """Serve until a signal comes; returns the exit code."""
    _raise_file_limit()
    address = (options.rest_api_host, options.rest_api_port)
    try:
        with _bound(address) as listener:
            configured = _configured(options)
            from serving_ctl.embedded.server import EmbeddedServer

            EmbeddedServer(options, configured).run(listener)
    except OSError as error:
        sys.stderr.write(f"{_port_problem(address, error)}\n")
        return PORT_TAKEN
    except StatusError as error:
        sys.stderr.write(f"Failed to start server. Error: {error}\n")
        return START_FAILED
    return 0


def _configured(options: Options) -> Configured:
    """Every config file read once; StatusError if one cannot be used."""

    def models() -> list[ModelConfig]:
        if options.model_config_file:
            return read_models(options.model_config_file)
        return [ModelConfig(options.model_name, str(Path(options.model_base_path).absolute()))]

    models()
    monitoring, batching = options.monitoring_config_file, options.batching_parameters_file
    return Configured(
        models,
        read_metrics_path(monitoring) if monitoring else None,
        read_batching(batching) if options.enable_batching else None,
    )


def _bound(address: tuple[str, int]) -> socket.socket:
    """A socket bound to ``address``: until it listens, connections are refused."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _port_problem(address: tuple[str, int], error: OSError) -> str:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use: stop what listens there, or give another --rest_api_port"
    return f"Cannot listen on {host}:{port}: {error.strerror}"


def _raise_file_limit() -> None:
    """Every connection is a file descriptor: take as many as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
