"""A real embedded server on a free port, and a raw socket to talk to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
START_LIMIT_S = 90
_PORT = re.compile(r"Exporting HTTP/REST API at:localhost:(\d+)")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def read_reply(connection: socket.socket) -> Reply:
    """The one answer on a connection that the server closes afterwards."""
    data = bytearray()
    while chunk := connection.recv(1 << 16):
        data += chunk
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Reply(int(status.split()[1]), headers, body)


class Embedded:
    """One server process; its log is a file."""

    def __init__(self, flags: list[str], log: Path) -> None:
        self.log_path = log
        self.port = 0
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving_ctl.embedded", "--rest_api_port=0", *flags],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=TESTS.parent,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for(self, fact: Callable[[], bool], what: str, limit_s: float = 30) -> None:
        deadline = time.monotonic() + limit_s
        while not fact():
            assert time.monotonic() < deadline, f"not within {limit_s} s: {what}\n{self.log[-3000:]}"
            time.sleep(0.005)

    def ready(self) -> Embedded:
        def said() -> bool:
            assert self.process.poll() is None, self.log
            return "Entering the event loop" in self.log

        self.wait_for(said, "ready", START_LIMIT_S)
        found = _PORT.search(self.log)
        assert found
        self.port = int(found[1])
        return self

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """One request over a raw socket, the path exactly as given."""
        fields = {"Host": "localhost", "Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with self.connect() as connection:
            connection.sendall(head.encode() + b"\r\n" + body)
            return read_reply(connection)

    def predict(self, model: str, body: str | bytes, call: str = "predict") -> Reply:
        return self.send("POST", f"/v1/models/{model}:{call}", body.encode() if isinstance(body, str) else body)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope="session")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("monitoring") / "monitoring.config"
    path.write_text('prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }')
    return path


def models_config(golden: Path, path: Path) -> Path:
    names = ["two_in_two_out", "text", "kinds", "fixed_batch", "half", "classic"]
    entries = [
        f'  config {{ name: "{name}" base_path: "{golden / name}" model_platform: "tensorflow" }}' for name in names
    ]
    entries.append(
        f'  config {{ name: "half_plus_two" base_path: "{golden / "half_plus_two"}" model_platform: "tensorflow"'
        " model_version_policy { specific { versions: 1 versions: 2 } }"
        ' version_labels { key: "stable" value: 1 } }'
    )
    path.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
    return path


@pytest.fixture(scope="session")
def server(golden: Path, monitoring: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """All golden models, as the recorded transcripts had them."""
    folder = tmp_path_factory.mktemp("server")
    running = Embedded(
        [
            f"--model_config_file={models_config(golden, folder / 'models.config')}",
            f"--monitoring_config_file={monitoring}",
            "--allow_version_labels_for_unavailable_models",
        ],
        folder / "log",
    )
    try:
        yield running.ready()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def embedded_process() -> type[Embedded]:
    """Starts a server: ``embedded_process(flags, log)``; who starts it stops it."""
    return Embedded


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Embedded]]:
    """Start a server with these flags; all are stopped when the test ends."""
    running: list[Embedded] = []

    def begin(*flags: str) -> Embedded:
        running.append(Embedded(list(flags), tmp_path / f"log{len(running)}"))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
