"""One client's connection: bytes to requests, answers to bytes (HTTP/1.1), and how long the client may take.

httptools parses. Requests of one connection are answered one after the other, in order. What a request means is
``handler.py``'s, where and when it is worked on ``front.py``'s.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from serving_ctl.embedded.answers import error_json
from serving_ctl.embedded.exchange import NOT_TAKEN, Answer, Request

# Of each connection; the real server sets none (evhttp_server.cc leaves libevent's, which is unlimited). How long a
# body may be on its way is limited by rest_api_timeout_in_ms, and who may connect by --rest_api_host.
_LARGEST_BODY = 1 << 30
_LARGEST_HEAD = 64 * 1024
_REASONS = {code.value: b"%d %b" % (code.value, code.phrase.encode()) for code in HTTPStatus} | {
    499: b"499 Client Closed Request"
}
_KEPT = {b"content-length", b"transfer-encoding", b"content-encoding", b"connection", b"expect"}
_AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """Seconds a client may take to send a whole request, and to send or read nothing; infinity: for ever."""

    request_s: float
    idle_s: float


class Owner(Protocol):
    """What a connection needs of the server it belongs to."""

    common_headers: bytes
    draining: bool

    def opened(self, connection: Connection) -> None:
        """A client has connected."""

    def closed(self, connection: Connection) -> None:
        """It is gone."""

    def submit(self, connection: Connection, request: Request) -> None:
        """Work on ``request``; the owner calls ``connection.answer`` with what comes of it."""


class Connection(asyncio.Protocol):
    """One connection; ``answer``, ``look_after`` and ``finish`` are called by its owner, all else by the event loop."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        # What is still to be answered, in order, and whether the connection lives on afterwards.
        self._waiting: deque[tuple[Request | Answer, bool]] = deque()
        self._working = self._receiving = self._head_done = self._in_body = self._at_end = False
        self._head_only = False  # the bytes last received belong to the head under way alone
        self._reading = self._writable = self._keep = True
        self._bodiless = False  # the request under way is a HEAD
        self._unsent = 0
        self._since = loop.time()  # when the client last did what it was waited for

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; ``pause_writing`` tells of each answer that the client does not take at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._owner.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: what it asked and is not begun will not be."""
        self._parser = None
        self._waiting.clear()
        self._owner.closed(self)

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers."""
        self._at_end = True
        return self._working or bool(self._waiting)

    def data_received(self, data: bytes) -> None:
        """Parse; ``on_message_complete`` queues each request that is whole."""
        self._head_only = True
        rest = data
        while self._parser is not None and rest:
            rest = self._feed(self._parser, rest)
        if self._receiving and self._head_only and not self._in_body:
            self._head_size += len(data)
            if self._head_size > _LARGEST_HEAD:
                self._refuse(Answer(431, error_json("The request's headers are too large")))
        if self._waiting and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _feed(self, parser: httptools.HttpRequestParser, data: bytes) -> bytes:
        """Parse ``data``; returns what is still to be parsed."""
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._decline_upgrade(parser.get_method(), data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if self._parser is not None:
                self._refuse(NOT_TAKEN)
        return b""

    def _decline_upgrade(self, method: bytes, rest: bytes) -> bytes:
        """The request anew as if it had not asked for another protocol: httptools has left out its body."""
        if self._parser is None:
            return b""
        if method == b"CONNECT":
            self._refuse(NOT_TAKEN)
            return b""
        self._parser = httptools.HttpRequestParser(self)
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self._url, self._kept, rest)

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._parser is None:
            return
        self._url = b""
        self._parts: list[bytes] = []
        self._head_size = self._body_size = 0
        self._kept = b""
        self._packed = self._expects = self._head_done = self._in_body = False
        self._receiving = True
        self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """The request's path and query, or a piece of them."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those that mean something here are kept. What follows a body means nothing."""
        if self._head_done:
            return
        key = name.lower()
        if key in _KEPT:
            self._kept += b"%b: %b\r\n" % (name, value)
        if key == b"content-encoding":
            self._packed = self._packed or b"gzip" in value.lower()
        elif key == b"expect":
            self._expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._head_done = self._in_body = True
        if self._expects and not self._working and self._parser and not self._parser.should_upgrade():
            self._transport.write(_CONTINUE)

    def on_chunk_header(self) -> None:
        """A chunk begins. The last one has no body: headers may follow it, and are limited like a head."""
        self._in_body = False
        self._head_size = 0

    def on_body(self, part: bytes) -> None:
        """A piece of the body."""
        if self._parser is None:
            return
        self._in_body, self._head_only = True, False
        self._parts.append(part)
        self._body_size += len(part)
        if self._body_size > _LARGEST_BODY:
            self._refuse(Answer(413, error_json("The request body is too large")))

    def on_message_complete(self) -> None:
        """The request is whole: it is worked on when those before it are answered."""
        if self._parser is None or self._parser.should_upgrade():
            return
        self._receiving = self._head_only = False
        method = self._parser.get_method().decode("latin-1")
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        request = Request(method, self._url.decode("latin-1"), body, self._packed)
        keep = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self._waiting.append((request, keep))
        self._begin_next()

    def pause_writing(self) -> None:
        """The client has not taken all of its answer yet."""
        self._writable = False
        self._since = self._loop.time()

    def resume_writing(self) -> None:
        """It has now."""
        self._writable = True
        self._since = self._loop.time()
        self._go_on()

    def answer(self, answer: Answer) -> None:
        """Send the answer to the request under way, and go on to the next one."""
        self._working = False
        if self._transport.is_closing():
            return
        self._since = self._loop.time()
        last_asked = self._at_end and not self._waiting
        self._keep = self._keep and not self._owner.draining and not last_asked
        if not self._keep:
            self._waiting.clear()
        self._transport.writelines(self._lines(answer))
        self._go_on()

    def _lines(self, answer: Answer) -> tuple[bytes, bytes]:
        head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n" % (
            _REASONS[answer.status],
            answer.content_type,
            len(answer.body),
            b"Server-Timing: %b\r\n" % answer.timing if answer.timing else b"",
            self._owner.common_headers if self._keep else self._owner.common_headers + b"Connection: close\r\n",
        )
        return head, b"" if self._bodiless else answer.body

    def _go_on(self) -> None:
        """After an answer: the next request, or the end of the connection, once what is written is out."""
        if self._keep:
            self._begin_next()
        elif self._parser is None and not self._at_end:
            self._transport.write_eof()
        else:
            self._transport.close()
        if not (self._waiting or self._reading or self._transport.is_closing()):
            self._reading = True
            self._transport.resume_reading()

    def _begin_next(self) -> None:
        if self._working or not self._writable or not self._waiting:
            return
        request, self._keep = self._waiting.popleft()
        self._working = True
        if isinstance(request, Answer):
            self._bodiless = False
            self.answer(request)
        else:
            self._bodiless = request.method == "HEAD"
            self._owner.submit(self, request)

    def _refuse(self, answer: Answer) -> None:
        """Queue an answer to what cannot be taken, and read no more.

        The client may still be sending: closed at once, the connection would be reset and the answer lost.
        """
        self._parser = None
        self._receiving = False
        self._parts = []
        self._waiting.append((answer, False))
        self._begin_next()

    def look_after(self, now: float, limits: Limits) -> None:
        """Close if the client keeps the server waiting: with the rest of its request, or with reading its answer."""
        if self._working:
            return
        if not self._writable and (unsent := self._transport.get_write_buffer_size()) != self._unsent:
            self._unsent, self._since = unsent, now
        if now - self._since <= (limits.request_s if self._receiving else limits.idle_s):
            return
        if self._receiving and self._writable:
            text = f"The request was not complete after {limits.request_s * 1e3:.0f} ms (rest_api_timeout_in_ms)"
            self._refuse(Answer(408, error_json(text)))
        elif self._writable:
            self._transport.close()
        else:
            # Reset it: closed plainly, what the client does not read would stay in the kernel.
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()

    def finish(self) -> None:
        """Close if nothing is under way; else the answer to come is the last."""
        if not (self._working or self._waiting or self._receiving) and self._writable:
            self._transport.close()
