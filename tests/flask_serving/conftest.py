"""Real gunicorns on free ports, each serving one golden model."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 90


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8", "surrogateescape"))


class Gunicorn:
    """The README's command with another bind, in its own process; its log is a file."""

    def __init__(self, model_dir: Path, log: Path, *options: str, workers: int = 1, **environment: str) -> None:
        self.workers = workers
        self._log = log
        arguments = ["-w", str(workers), "-b", "127.0.0.1:0", "--timeout", "600", "--no-control-socket", *options]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *arguments, "flask_serving:app"],
                cwd=ROOT,
                env={**os.environ, "TFSERVE_MODEL_DIR": str(model_dir), **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_ready(self) -> Gunicorn:
        limit = time.monotonic() + START_LIMIT_S
        while self.log.count("] Loaded ") < self.workers:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < limit, self.log
            time.sleep(0.05)
        return self

    def wait_exit(self) -> int:
        return self.process.wait(START_LIMIT_S)

    def stop(self) -> int:
        self.process.terminate()
        return self.wait_exit()

    @property
    def port(self) -> int:
        return int(re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log)[1])

    @property
    def worker_pids(self) -> set[int]:
        return {int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def predict(self, name: str, document: object, *, packed: bool = False) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Content-Encoding": "gzip"} if packed else {}
        return self.ask("POST", f"/v1/models/{name}:predict", gzip.compress(body) if packed else body, headers)


@pytest.fixture
def start(tmp_path):
    """Start a gunicorn that ends with the test."""
    started = []

    def start_one(model_dir: Path, *options: str, **keywords) -> Gunicorn:
        started.append(Gunicorn(model_dir, tmp_path / f"gunicorn-{len(started)}.log", *options, **keywords))
        return started[-1]

    yield start_one
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def serving(golden, tmp_path_factory):
    """The ready server of one golden model, started once for all tests."""
    logs = tmp_path_factory.mktemp("logs")
    servers: dict[str, Gunicorn] = {}

    def server_of(name: str) -> Gunicorn:
        if name not in servers:
            servers[name] = Gunicorn(golden / name, logs / name)
        return servers[name].wait_ready()

    yield server_of
    for server in servers.values():
        server.process.terminate()
    for server in servers.values():
        server.wait_exit()
