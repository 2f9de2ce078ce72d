"""One concurrent caller: at most one request in flight on at most one connection, stamped when sent and when answered.

Callbacks only, no task per request: this is the hot path. What to send and when to stop is decided in ``schedule``,
what to do with the numbers in ``recorder``.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Protocol, cast

from serving_ctl.load.answer import MAX_BODY, Answer, BadAnswer, Head, HeadMemory
from serving_ctl.load.recorder import Recorder
from serving_ctl.load.wire import Target
from serving_ctl.load.work import Fault

MOST_PENDING = 100
"""Connects under way at a time (R13)."""

_FIRST_REST_S = 0.01
_LONGEST_REST_S = 0.5
"""A client whose request failed without an answer rests before the next one, twice as long each time in a row."""

_CONNECT_FAULTS = {
    errno.ECONNREFUSED: Fault.REFUSED,
    errno.ECONNRESET: Fault.RESET,
    errno.ETIMEDOUT: Fault.CONNECT_TIMEOUT,
}


class Rule(Protocol):
    """Says what a client sends next; ``intended_ns`` is when that should have been sent (open loop)."""

    intended_ns: int

    def take(self, now_ns: int) -> bytes | None:
        """A request's bytes, or None: the client parks."""

    def is_over(self, now_ns: int) -> bool:
        """True when nothing more will be handed out."""


class Destination:
    """Where clients connect to: ``host`` is the numeric address of ``target``, ``memory`` the heads sent from there."""

    __slots__ = ("host", "memory", "target")

    def __init__(self, target: Target, host: str, memory: HeadMemory) -> None:
        self.target, self.host, self.memory = target, host, memory


class Core:
    """What the clients of one load process share. ``rule``, ``recorder`` and ``parked`` change with the phase."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.tls = tls
        self.memories: list[HeadMemory] = []
        self.new_client: Callable[[], Client]
        self.rule: Rule
        self.recorder: Recorder
        self.parked: Callable[[Client], None]
        self.rests = 0
        self.pending_connects = 0
        self.waiting: deque[Client] = deque()
        self.connects = 0
        self._answered: list[Connection] = []
        self.wanted_samples = 0
        self.samples: list[bytes] = []

    def go_on_soon(self, connection: Connection) -> None:
        """Send the next request when all answers that are here by now have got their stamp: a send takes longer than a
        read, and with many clients each answer would wait for the sends of those before it."""
        self._answered.append(connection)
        if len(self._answered) == 1:
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        now = perf_counter_ns()
        answered, self._answered = self._answered, []
        for connection in answered:
            request = self.rule.take(now)
            if request is None:
                connection.recognises = False
                self.parked(connection.client)
            else:
                connection.client.send(request)

    def want_samples(self, number: int) -> None:
        """Keep the bodies of the next ``number`` good answers."""
        self.wanted_samples = number
        self._recognise(number == 0)

    def take_sample(self, body: bytes) -> None:
        """Keep a body; with the last one, answers are recognised unread again."""
        self.samples.append(body)
        self._recognise(len(self.samples) >= self.wanted_samples)

    def _recognise(self, allowed: bool) -> None:
        for memory in self.memories:
            memory.recognise(allowed)

    def release_connect(self) -> None:
        """A connect has ended: the next waiting client may start its own."""
        self.pending_connects -= 1
        if self.waiting:
            self.waiting.popleft().connect()


class Connection(asyncio.Protocol):
    """One TCP connection. ``start_ns`` is 0 while nothing is in flight."""

    __slots__ = (
        "_answer",
        "_core",
        "_descriptor",
        "_is_behind",
        "client",
        "memory",
        "recognises",
        "start_ns",
        "transport",
    )

    def __init__(self, client: Client) -> None:
        self.client = client
        self.memory = client.to.memory
        self.start_ns = 0
        self.transport: asyncio.Transport
        self._core = client.core
        self._answer: Answer | None = None
        self._is_behind = False
        self.recognises = False
        """True when a whole good answer in one piece needs nothing but its time: closed loop, connection standing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the client's first request as soon as its own connection stands (R13)."""
        self.transport = cast(asyncio.Transport, transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self.client.connected(self)

    def send(self, request: bytes) -> None:
        """Put a request on the wire.

        Past the transport where that is possible: it would write at the end of the loop's turn, after the stamp. Not
        while it still holds the end of a request that the server has answered unread: that must go out first.
        """
        self.start_ns = perf_counter_ns()
        written = 0
        if self._is_behind:
            self._is_behind = self.transport.get_write_buffer_size() > 0
        if self._core.tls is None and not self._is_behind:
            try:
                written = os.write(self._descriptor, request)
            except OSError:
                # Full, or broken: the transport waits, or says what became of the connection.
                written = 0
        if written < len(request):
            self._is_behind = True
            self.transport.write(request[written:])

    def data_received(self, data: bytes) -> None:
        """The next bytes of the answer; recognised at once when it repeats an earlier head."""
        memory = self.memory
        if self.recognises and self.start_ns and len(data) == memory.size and data.startswith(memory.latest):
            core = self._core
            core.recorder.kept(perf_counter_ns() - self.start_ns)
            self.start_ns = 0
            core.go_on_soon(self)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        if not self.start_ns:
            # Bytes nobody asked for: a late or mad server. This connection is of no further use.
            self.client.drop()
            return
        self.recognises = False
        answer = self._answer
        if answer is None:
            answer = self._answer = Answer(self.memory, self.client.keep)
        try:
            if answer.feed(data):
                self._complete(answer)
        except BadAnswer as error:
            self.client.failed(Fault.BAD_BODY, str(error), self.start_ns)

    def _complete(self, answer: Answer) -> None:
        end, start = perf_counter_ns(), self.start_ns
        self.start_ns = 0
        self._answer = None
        assert answer.head is not None
        self.recognises = self.client.answered(answer.head, answer.body, start, end)

    def eof_received(self) -> None:
        """The server closed its side: the end of an answer without a length, else of the connection."""
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by the server's doing unless nothing was in flight."""
        self._ended(exc)

    def _ended(self, exc: Exception | None) -> None:
        if not self.start_ns:
            self.client.lost(self)
            return
        try:
            if exc is None and self._answer is not None and self._answer.end():
                self._complete(self._answer)
                return
        except BadAnswer as error:
            self.client.failed(Fault.BAD_BODY, str(error), self.start_ns)
            return
        text = f"the connection broke: {exc}" if exc else "the server closed the connection without an answer"
        self.client.failed(Fault.RESET, text, self.start_ns)


class Client:
    """One concurrent caller; ``go`` makes it work until its rule parks it."""

    __slots__ = (
        "_connecting",
        "_connection",
        "_opening",
        "_request",
        "_rest_s",
        "_resting",
        "connect_ns",
        "core",
        "intended_ns",
        "since_ns",
        "to",
    )

    def __init__(self, core: Core, to: Destination) -> None:
        self.core, self.to = core, to
        self.connect_ns = 0
        """The connect time that the request in flight has to answer for (R2)."""
        self.intended_ns = 0
        """Open loop: when the request in flight should have been sent."""
        self.since_ns = 0
        """When the connect under way began; 0 when none is."""
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._opening: Connection | None = None
        self._request = b""
        self._resting: asyncio.TimerHandle | None = None
        self._rest_s = _FIRST_REST_S

    @property
    def keep(self) -> int:
        """How many body bytes of the next answer to keep: all while samples are wanted."""
        return MAX_BODY if len(self.core.samples) < self.core.wanted_samples else 0

    @property
    def in_flight_since_ns(self) -> int:
        """When the connect or the request under way began; 0 when there is none."""
        if self.since_ns:
            return self.since_ns
        return self._connection.start_ns if self._connection else 0

    def go(self) -> None:
        """Send the next request, or park."""
        self._resting = None
        request = self.core.rule.take(perf_counter_ns())
        if request is None:
            self.core.parked(self)
        else:
            self.intended_ns = self.core.rule.intended_ns
            self.send(request)

    def send(self, request: bytes) -> None:
        """Send ``request``, after a connect if there is no connection."""
        self._request = request
        if self._connection is not None:
            self._connection.send(request)
        else:
            self.connect()

    def connect(self) -> None:
        """Open the connection, or wait for a turn to."""
        core = self.core
        if core.pending_connects >= MOST_PENDING:
            core.waiting.append(self)
            return
        core.pending_connects += 1
        core.connects += 1
        self.since_ns = perf_counter_ns()
        self._connecting = core.loop.create_task(self._open())

    async def _open(self) -> None:
        self._opening = connection = Connection(self)
        core, to = self.core, self.to
        name = to.target.host if core.tls else None
        try:
            await core.loop.create_connection(
                lambda: connection, to.host, to.target.port, ssl=core.tls, server_hostname=name
            )
        except OSError as error:
            began, self.since_ns = self.since_ns, 0
            kind = _CONNECT_FAULTS.get(error.errno or 0, Fault.CONNECT_FAILED)
            self.failed(kind, error.strerror or str(error), began)
        finally:
            core.release_connect()

    def connected(self, connection: Connection) -> None:
        """The connection stands: the request goes out at once. One that was given up meanwhile is closed."""
        if connection is not self._opening:
            connection.transport.abort()
            return
        self._opening = None
        self._connection = connection
        self.connect_ns = perf_counter_ns() - self.since_ns
        self.since_ns = 0
        connection.send(self._request)

    def answered(self, head: Head, body: bytes, start_ns: int, end_ns: int) -> bool:
        """A whole answer is here; record it and go on. True when the next answer may take the short way."""
        core = self.core
        recorder = core.recorder
        connect_ns, self.connect_ns = self.connect_ns, 0
        if not head.keep_alive:
            self.drop()
        if not head.ok:
            kind = _http_fault(head.status)
            text = body.decode("utf-8", "replace")
            self.count_error(kind, f"HTTP {head.status}: {text}", end_ns - start_ns + connect_ns)
        else:
            recorder.detailed(end_ns - start_ns, connect_ns, end_ns - self.intended_ns)
            self._rest_s = _FIRST_REST_S
            if head.timings or head.worker:
                recorder.said(head)
            if len(core.samples) < core.wanted_samples:
                core.take_sample(body)
        self.go()
        return self._connection is not None and not recorder.open_loop and self._connection.start_ns != 0

    def failed(self, kind: Fault, example: str, since_ns: int) -> None:
        """The request has no answer: count it, drop the connection, rest, go on."""
        self.count_error(kind, example, perf_counter_ns() - since_ns + self.connect_ns)
        self.drop()
        if self.core.rule.is_over(perf_counter_ns()):
            self.core.parked(self)
            return
        self.core.rests += 1
        self._resting = self.core.loop.call_later(self._rest_s, self.go)
        self._rest_s = min(self._rest_s * 2, _LONGEST_REST_S)

    def count_error(self, kind: Fault, example: str, spent_ns: int) -> None:
        """Record a failure."""
        self.core.recorder.error(kind, example, spent_ns)

    def lost(self, connection: Connection) -> None:
        """An idle connection was closed by the server: the next request opens a new one."""
        if self._connection is connection:
            self.drop()

    def drop(self) -> None:
        """Close the connection at once: a sync server waits for that (R13)."""
        self.connect_ns = 0
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.start_ns = 0
            connection.transport.abort()

    def give_up(self, kind: Fault, example: str) -> None:
        """Fail the connect or request under way: a time limit is over."""
        since_ns = self.in_flight_since_ns
        self._stop_connecting()
        self.failed(kind, example, since_ns)

    def halt(self) -> None:
        """Stop without counting anything: the load is over, or this client leaves."""
        if self._resting is not None:
            self._resting.cancel()
        self._stop_connecting()
        self.drop()

    def _stop_connecting(self) -> None:
        self._opening = None
        if self.since_ns and self._connecting is not None:
            self._connecting.cancel()
        self.since_ns = 0


def _http_fault(status: int) -> Fault:
    if status >= 500:
        return Fault.HTTP_5XX
    return Fault.HTTP_4XX if status >= 400 else Fault.HTTP_3XX
