"""The ASGI side: reads bodies, unpacks gzip, decides where a request is worked on, writes answers.

Plain ASGI: routing needs two patterns and the answers must match another server's byte for byte.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any

from serving_ctl.embedded.answers import error_json
from serving_ctl.embedded.handler import Answer, Handler

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LARGEST_BODY = 1 << 30
_LARGEST_UNPACKED = 100 * 1024 * 1024  # kMaxUncompressedBytes of the real server's gzip reader
_BAD_METHODS = {"OPTIONS", "TRACE", "CONNECT"}
_SMALL_BODY = 64 * 1024
_QUICK_S = 0.005  # longer than this the event loop must not be held up
_NEWEST_SHARE = 0.2  # weight of the newest request in the usual time


class Gone(Exception):
    """The client closed the connection before its request was complete."""


class TooLarge(Exception):
    """The body is larger than the server takes."""


class App:
    """The ASGI application.

    ``alone`` tells whether the server works on nothing else: a small request that is alone is answered in the event
    loop itself, which saves two thread switches (0.1 ms), as long as small requests are usually quick; any other goes
    to ``threads``.
    """

    def __init__(self, handler: Handler, threads: Executor, alone: Callable[[], bool]) -> None:
        self._handler = handler
        self._threads = threads
        self._alone = alone
        self._usual_s = 0.0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method = scope["method"]
        if method in _BAD_METHODS:
            await _reply(send, Answer(400, b"", b"text/html; charset=ISO-8859-1"))
            return
        try:
            answer = await self._answer(scope, receive)
        except Gone:
            return
        await _reply(send, answer)

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        try:
            body = await _read_body(receive)
        except TooLarge:
            return Answer(413, error_json("The request body is too large"))
        path = _path(scope)
        packed = _is_gzip(scope["headers"])
        if not packed and len(body) <= _SMALL_BODY and self._usual_s < _QUICK_S and self._alone():
            return self._work(scope["method"], path, body, packed)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._work, scope["method"], path, body, packed)

    def _work(self, method: str, path: str, body: bytes, packed: bool) -> Answer:
        began = time.perf_counter()
        answer = self._handler.answer(method, path, _unpack(body) if packed else body)
        if len(body) <= _SMALL_BODY:
            self._usual_s += _NEWEST_SHARE * (time.perf_counter() - began - self._usual_s)
        return answer


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise Gone
        parts.append(message["body"])
        size += len(message["body"])
        if size > _LARGEST_BODY:
            raise TooLarge
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _path(scope: Message) -> str:
    """The path as it was sent, with its query: the real server matches both as one."""
    raw: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _is_gzip(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-encoding" and b"gzip" in value.lower() for name, value in headers)


def _unpack(body: bytes) -> bytes:
    """What a gzip body holds; one that is broken or unpacks to too much counts as empty, as with the real server."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, _LARGEST_UNPACKED)
    except zlib.error:
        return b""
    return data if unpacker.eof else b""


async def _reply(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
    if answer.timing:
        headers.append((b"server-timing", answer.timing))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
