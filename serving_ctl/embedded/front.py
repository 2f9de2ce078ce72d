"""The front of the server: accepts connections, decides where each request is worked on, looks after slow clients.

SIGTERM or SIGINT: no new connections, requests under way are answered, then ``serve`` returns; a second one cuts them.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor
from email.utils import formatdate

from serving_ctl.embedded.connection import Connection, Limits
from serving_ctl.embedded.exchange import Answer, Request

_BACKLOG = 4096
_DRAIN_S = 30  # how long requests under way may take after a signal
_SMALL_BODY = 64 * 1024
_QUICK_S = 0.005  # longer than this the event loop must not be held up
_NEWEST_SHARE = 0.2  # weight of the newest request in the usual time
_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)


class Front:
    """Accepts and answers; ``work`` turns a request into its answer, blocking, in any thread.

    A small request with no other beside it is worked on in the event loop itself, which saves two thread switches
    (0.1 ms), as long as small predictions are usually quick; any other goes to ``threads``.
    """

    def __init__(
        self,
        work: Callable[[Request], Answer],
        threads: Executor,
        *,
        limits: Limits,
        waits_for_others: bool = False,
        cors: bool = False,
    ) -> None:
        """``waits_for_others``: work may block until other requests come (batching), so never in the event loop."""
        self.common_headers = b""
        self.draining = False
        self._work = work
        self._threads = threads
        self._limits = limits
        self._step_s = min(1.0, limits.request_s / 2)  # how often slow clients are looked for
        self._cors = _CORS if cors else b""
        self._stopped = asyncio.Event()
        self._connections: set[Connection] = set()
        self._arrived: list[tuple[Connection, Request]] = []
        self._under_way = 0
        self._waits_for_others = waits_for_others
        self._usual_s = 0.0

    async def serve(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Listen and serve until a signal comes; ``ready`` is called when connections are accepted."""
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        self._look_around()
        listener.listen(_BACKLOG)  # here it raises when another took the port meanwhile; uvloop would not
        server = await self._loop.create_server(lambda: Connection(self, self._loop), sock=listener, backlog=_BACKLOG)
        ready()
        while not await self._stop_came(self._step_s):
            self._look_around()
        server.close()
        await self._drain()

    def stop(self) -> None:
        """End ``serve``: drain, or no longer wait for that."""
        self._stopped.set()

    async def _stop_came(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def _drain(self) -> None:
        self.draining = True
        self._stopped.clear()
        deadline = time.monotonic() + _DRAIN_S
        while self._connections and time.monotonic() < deadline:
            for connection in list(self._connections):
                connection.finish()
            if await self._stop_came(0.01):
                return
            self._look_around()

    def _look_around(self) -> None:
        self.common_headers = b"Date: %b\r\n%b" % (formatdate(usegmt=True).encode(), self._cors)
        now = self._loop.time()
        for connection in list(self._connections):
            connection.look_after(now, self._limits)

    def opened(self, connection: Connection) -> None:
        """A client has connected."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        self._connections.discard(connection)

    def submit(self, connection: Connection, request: Request) -> None:
        """Take a request; where it is worked on is decided when all that came with it are here."""
        self._arrived.append((connection, request))
        if len(self._arrived) == 1:
            self._loop.call_soon(self._assign)

    def _assign(self) -> None:
        arrived, self._arrived = self._arrived, []
        if len(arrived) == 1 and not self._under_way and self._quick(arrived[0][1]):
            connection, request = arrived[0]
            connection.answer(self._timed(request))
            return
        self._under_way += len(arrived)
        for connection, request in arrived:
            self._threads.submit(self._work_apart, connection, request)

    def _quick(self, request: Request) -> bool:
        if self._waits_for_others or request.packed:
            return False
        return self._usual_s < _QUICK_S and len(request.body) <= _SMALL_BODY

    def _timed(self, request: Request) -> Answer:
        began = time.perf_counter()
        answer = self._work(request)
        if request.method == "POST" and len(request.body) <= _SMALL_BODY:  # status polls tell nothing of predictions
            self._usual_s += _NEWEST_SHARE * (time.perf_counter() - began - self._usual_s)
        return answer

    def _work_apart(self, connection: Connection, request: Request) -> None:
        self._loop.call_soon_threadsafe(self._finished, connection, self._timed(request))

    def _finished(self, connection: Connection, answer: Answer) -> None:
        self._under_way -= 1
        connection.answer(answer)
