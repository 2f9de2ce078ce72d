"""Real servers on 127.0.0.1 for the load engine: whatever a test's handler does with a connection, in a thread."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from serving_ctl.load.pool import run_load
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Listens on a free port; ``handler`` gets each connection, ``bodies`` collects what ``request`` read."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.bodies: list[bytes] = []
        self.connections = 0
        self._handler = handler
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(10)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1/models/m:predict"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handler(reader, writer)
        finally:
            self._tasks.discard(task)
            with suppress(Exception):
                writer.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request; raises IncompleteReadError when the client has closed."""
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", head)
        body = await reader.readexactly(int(found[1])) if found else b""
        self.bodies.append(body)
        return body


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """``serve(handler)``; or ``serve(answers=bytes, close=bool)``: the same bytes for every request."""
    servers: list[Server] = []

    def start(
        handler: Handler | None = None, *, answers: bytes = OK, close: bool = False, tls: ssl.SSLContext | None = None
    ) -> Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.request(reader)
                writer.write(answers)
                await writer.drain()
                if close:
                    return

        server = Server(handler or answer, tls)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def by_count(requests: int) -> StopRule:
    return StopRule(requests=requests, seconds=0, max_seconds=None)


def load(url: str, *, requests: int = 6, processes: int = 1, **settings: object) -> LoadResult:
    """One run, synchronously; ``requests`` in all unless ``stop`` is given."""
    settings.setdefault("stop", by_count(requests))
    return asyncio.run(run_load(LoadSpec(url=url, **settings), processes=processes))  # type: ignore[arg-type]


@pytest.fixture(name="load")
def load_fixture() -> Callable[..., LoadResult]:
    return load
