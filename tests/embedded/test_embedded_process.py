"""The program: its flags, its exit codes, its start and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving_ctl.embedded.options import read_options
from serving_ctl.errors import ConfigError
from serving_ctl.servers.flags import known_flags, parse_help, read_value

BODY = b'{"instances": [4.0]}'


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving_ctl.embedded", *flags]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_version_and_help_name_what_it_is() -> None:
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("embedded (TF-Serving-compatible) ")
    assert "TensorFlow ModelServer" not in version.stdout
    help_ = run("--help")
    assert help_.returncode == 0
    assert "embedded (TF-Serving-compatible)" in help_.stdout
    assert parse_help(help_.stdout)["rest_api_port"].type == "int32"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model_base_pth=/m"], "did you mean --model_base_path?"),
        (["--model_name=a"], "give --model_base_path"),
        (["--model_base_path=/m", "--rest_api_port=many"], "--rest_api_port=many is no int32 value"),
        (["--model_base_path=/m", "--rest_api_port=70000"], "is no port"),
        (["--model_base_path=/m", "--enable_batching=maybe"], "is no bool value"),
        (["--model_base_path=/m", "--batching_parameters_file=/b"], "without setting --enable_batching"),
        (["--model_base_path"], "needs a value"),
    ],
)
def test_flags_that_cannot_be_used(flags: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_options(flags)


def test_flags_without_a_meaning_here_are_passed_over() -> None:
    options, warnings = read_options(
        ["--model_base_path", "/m", "--port=8500", "--enable_batching", "--grpc_max_threads=3"]
    )
    assert options.enable_batching
    assert [warning.split()[0] for warning in warnings] == ["--grpc_max_threads", "--port"]


def test_all_48_flags_are_known() -> None:
    flags = known_flags()
    assert len(flags) == 48
    assert flags["rest_api_timeout_in_ms"].default == 30_000
    assert flags["enable_model_warmup"].default is True
    assert read_value("x", "int64", "-1") == -1
    with pytest.raises(ConfigError, match="does not fit int32"):
        read_value("x", "int32", str(1 << 31))


def test_an_unknown_flag_is_one_line_and_exit_2() -> None:
    done = run("--nope=1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_without_tensorflow_one_line_says_what_to_install() -> None:
    code = (
        "import sys, runpy; sys.modules['tensorflow'] = None; sys.argv[1:] = ['--model_base_path=/m'];"
        "runpy.run_module('serving_ctl.embedded', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "needs tfserve-tui[local]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line_and_exit_1(server: Any) -> None:
    done = run(f"--rest_api_port={server.port}", "--model_base_path=/m")
    assert done.returncode == 1
    assert f"Port {server.port} on 127.0.0.1 is in use" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "Failed to start server. Error: NOT_FOUND: "),
        ('model_config_list { config { base_pth: "x" } }', "Failed to start server. Error: INVALID_ARGUMENT: "),
        (
            'model_config_list { config { base_pth: "x" } }',
            'Message type "tensorflow.serving.ModelConfig" has no field named "base_pth"',
        ),
        ('model_config_list { config { name: "m" base_path: "m" } }', "Expected model m to have an absolute path"),
    ],
)
def test_a_config_that_cannot_be_used(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "models.config"
    if text is not None:
        path.write_text(text)
    done = run(f"--model_config_file={path}")
    assert done.returncode == 255
    assert words in done.stderr.splitlines()[-1]


def test_sigterm_lets_requests_finish(start: Callable[..., Any], golden: Path) -> None:
    server = start("--model_name=half_plus_two", f"--model_base_path={golden / 'half_plus_two'}").ready()
    body = json.dumps({"instances": [1.0] * 2_000_000}).encode()
    replies: list[Any] = []
    head = f"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server.connect(), server.connect() as connection:
        connection.sendall(head + body[:-1])
        sender = threading.Thread(target=lambda: replies.append(drain(connection)))
        sender.start()
        os.kill(server.process.pid, signal.SIGTERM)
        connection.sendall(body[-1:])
        sender.join(60)
    assert server.process.wait(60) == 0
    assert replies[0].startswith(b"HTTP/1.1 200")
    assert replies[0].partition(b"\r\n\r\n")[2].count(b"3.5") == 2_000_000
    assert "Traceback" not in server.log


def drain(connection: socket.socket) -> bytes:
    data = bytearray()
    while chunk := connection.recv(1 << 20):
        data += chunk
    return bytes(data)


def test_sigterm_while_it_waits_for_a_model(start: Callable[..., Any], tmp_path: Path) -> None:
    server = start("--model_name=m", f"--model_base_path={tmp_path / 'nowhere'}")
    server.wait_for(lambda: "Could not find base path" in server.log, "it waits")
    assert server.stop() == 0


def test_binds_loopback_only(server: Any) -> None:
    import psutil

    listening = [one for one in psutil.Process(server.process.pid).net_connections() if one.status == "LISTEN"]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"]
