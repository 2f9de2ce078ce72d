"""Real Dask schedulers and workers as processes, and a server that counts what reaches it and from where."""

from __future__ import annotations

import asyncio
import collections
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from serving_ctl.load.echo import EchoProtocol

STARTED_WITHIN_S = 30.0


def until(fact: Callable[[], object], what: str, within_s: float = STARTED_WITHIN_S) -> None:
    """Wait for ``fact``; fails when it does not come."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


class Place:
    """One process of Dask with its log. ``before`` is what the command is run by: a namespace, a faked clock."""

    def __init__(
        self,
        folder: Path,
        name: str,
        command: Sequence[str],
        *,
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def says(self, pattern: str) -> str:
        """The first group of ``pattern`` in the log, once it is there."""

        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log.read_text()
            return re.search(pattern, self.log.read_text())

        until(found, f"{pattern!r} in {self.log}")
        match = found()
        assert match is not None
        return match[1]

    def kill(self) -> None:
        """End the whole place without a warning."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class Cluster:
    """A scheduler and its workers, ended by ``close``."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self.folder, self.host = folder, host
        self.workers: list[Place] = []
        self.start_scheduler(port)

    def start_scheduler(self, port: int = 0) -> None:
        """Start (again, after it was killed) the scheduler."""
        command = ["distributed.cli.dask_scheduler", "--host", self.host, "--port", str(port), "--no-dashboard"]
        command += ["--dashboard-address", f"{self.host}:0"]
        self.scheduler = Place(self.folder, f"scheduler-{time.monotonic_ns()}", command)
        self.address = self.scheduler.says(r"Scheduler at:\s+(\S+)")

    def add(self, *more: str, host: str = "127.0.0.1", nanny: bool = False, **place: object) -> Place:
        """Start one more worker and wait until the scheduler has it."""
        number = len(self.workers)
        command = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-dashboard"]
        command += ["--nanny" if nanny else "--no-nanny", "--local-directory", str(self.folder / f"space-{number}")]
        command += list(more) if "--contact-address" in more else ["--host", host, *more]
        worker = Place(self.folder, f"worker-{number}", command, **place)  # type: ignore[arg-type]
        self.workers.append(worker)
        worker.says(r"(Registered to):")
        return worker

    def close(self) -> None:
        """End everything."""
        for place in (*self.workers, self.scheduler):
            place.kill()


class CountingServer:
    """Answers every request at once. ``count`` and ``bodies`` are of all, ``peers`` of each address that connected."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.count = self.connections = 0
        self.peers: collections.Counter[str] = collections.Counter()
        self.paths: collections.Counter[bytes] = collections.Counter()
        self.bodies: set[bytes] = set()
        self._transports: set[asyncio.Transport] = set()
        outer = self

        class Counting(EchoProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                outer.connections += 1
                outer._transports.add(self.transport)

            def connection_lost(self, error: Exception | None) -> None:
                outer.connections -= 1
                outer._transports.discard(self.transport)

            def data_received(self, data: bytes) -> None:
                outer.paths.update(re.findall(rb"\A[A-Z]+ (\S+) HTTP", data))
                outer.bodies.add(data.partition(b"\r\n\r\n")[2])
                super().data_received(data)

            def respond(self) -> None:
                outer.count += 1
                outer.peers[self.transport.get_extra_info("peername")[0]] += 1
                super().respond()

        self._loop = asyncio.new_event_loop()
        server = self._loop.run_until_complete(self._loop.create_server(Counting, host, 0, backlog=128))
        self._server = server
        self.url = f"http://{host}:{server.sockets[0].getsockname()[1]}/v1/models/m:predict"
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop the connections."""

        async def end() -> None:
            self._server.close()
            for transport in tuple(self._transports):
                transport.abort()
            while self._transports:  # noqa: ASYNC110 - each says when it is lost
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
