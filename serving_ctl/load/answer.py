"""What comes back: reads one HTTP answer from pieces of bytes; no sockets here.

A head is judged once by llhttp and remembered: servers repeat theirs byte for byte (until the date moves on), and an
equal head means the same. Bodies of known length are counted, not parsed; only chunked ones go through llhttp.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httptools
import msgspec

MAX_HEAD = 64 * 1024
MAX_BODY = 1 << 30
"""Longest answer body that is read to its end, bytes."""
SNIPPET = 300
"""Bytes of an error answer's body that are kept for the example."""

_HEADS_KEPT = 64
_METRIC = re.compile(rb"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)((?:\s*;(?:\"[^\"]*\"|[^,;\"])*)*)")
_PARAMETER = re.compile(rb";\s*(dur|desc)\s*=\s*\"?([^\";,\s]+)", re.IGNORECASE)


class BadAnswer(Exception):
    """The bytes are not the answer that HTTP promises; the text says why."""


class Head(msgspec.Struct, frozen=True):
    """What an answer's head says."""

    status: int
    length: int | None
    """Body bytes; None when chunked or up to the close."""
    chunked: bool
    keep_alive: bool
    timings: tuple[tuple[str, float], ...]
    """``Server-Timing`` durations in ms (R21)."""
    worker: str | None
    """``Server-Timing: worker;desc=ID``."""

    @property
    def ok(self) -> bool:
        """A status of the 200s."""
        return 200 <= self.status < 300


class _HeadJudge:
    """Callbacks for llhttp while it reads one head."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.complete = False
        self.keep_alive = False
        self.length: int | None = None
        self.chunked = False
        self.timing = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length":
            self.length = int(value)
        elif name == b"transfer-encoding":
            self.chunked = value.lower().rstrip().endswith(b"chunked")
        elif name == b"server-timing":
            self.timing += b"," + value

    def on_headers_complete(self) -> None:
        self.complete = True
        # Asked here: once llhttp has seen a whole message, its answer is about the next one.
        self.keep_alive = self.parser.should_keep_alive()


def judge(head: bytes) -> Head:
    """Parse a head that ends with its blank line. Raises BadAnswer when it is not HTTP."""
    found = _HeadJudge()
    try:
        found.parser.feed_data(head)
    except httptools.HttpParserUpgrade as error:
        raise BadAnswer("the server switched protocols, which nobody asked for") from error
    except (httptools.HttpParserError, ValueError) as error:
        raise BadAnswer(f"not an HTTP answer ({error}): {head[:60]!r}") from error
    if not found.complete:
        raise BadAnswer(f"not an HTTP answer: {head[:60]!r}")
    timings, worker = server_timing(found.timing)
    length = None if found.chunked else found.length
    return Head(found.parser.get_status_code(), length, found.chunked, found.keep_alive, timings, worker)


def server_timing(value: bytes) -> tuple[tuple[tuple[str, float], ...], str | None]:
    """The durations (ms) and the worker's id of a ``Server-Timing`` value; metrics it cannot read are left out."""
    timings: list[tuple[str, float]] = []
    worker = None
    for name, parameters in _METRIC.findall(value):
        given = {key.lower().decode(): text.decode("latin-1") for key, text in _PARAMETER.findall(parameters)}
        if name == b"worker":
            worker = given.get("desc", worker)
        elif re.fullmatch(r"\d+(\.\d*)?", given.get("dur", "")):
            timings.append((name.decode("latin-1"), float(given["dur"])))
    return tuple(timings), worker


class HeadMemory:
    """The heads one server has sent: ``latest`` and ``size`` let a whole answer be recognised with one comparison.

    They are set for plain answers only: status of the 200s, known length, connection kept, no timings.
    """

    __slots__ = ("_known", "_no_body", "_recognise", "latest", "size")

    def __init__(self, method: str) -> None:
        self.latest = b""
        self.size = -1
        self._recognise = True
        self._known: dict[bytes, Head] = {}
        self._no_body = method == "HEAD"

    def read(self, text: bytes) -> Head:
        """The meaning of a head. Raises BadAnswer."""
        head = self._known.get(text)
        if head is None:
            head = judge(text)
            if self._no_body or head.status in (204, 304):
                head = msgspec.structs.replace(head, length=0, chunked=False)
            if head.timings or head.worker:
                return head
            if len(self._known) >= _HEADS_KEPT:
                self._known.clear()
            self._known[text] = head
        if self._recognise and head.ok and head.keep_alive and head.length is not None:
            self.latest, self.size = text, len(text) + head.length
        return head

    def recognise(self, allowed: bool) -> None:
        """Allow or forbid recognising whole answers unread; forbidden while their bodies are wanted."""
        self._recognise = allowed
        self.size = -1


class Answer:
    """One answer as it arrives: feed it bytes until it is complete."""

    __slots__ = ("_chunks", "_keep", "_memory", "_pending", "_received", "body", "head")

    def __init__(self, memory: HeadMemory, keep: int = 0) -> None:
        """``keep`` is how many body bytes to keep in ``body``; of an error answer a snippet is always kept."""
        self.head: Head | None = None
        self.body = b""
        self._memory = memory
        self._keep = keep
        self._pending = b""
        self._received = 0
        self._chunks: _ChunkReader | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; True when the answer is complete. Raises BadAnswer."""
        if self.head is None:
            rest = self._read_head(data)
            if rest is None:
                return False
            data = rest
        if self._chunks is not None:
            return self._chunks.feed(data)
        return self._count(data)

    def end(self) -> bool:
        """The peer closed: True when that completes the answer. Raises BadAnswer when it is cut short."""
        if self.head is None:
            raise BadAnswer(f"connection closed inside the head: {self._pending[:60]!r}")
        if self._chunks is not None:
            raise BadAnswer("connection closed before the last chunk")
        if self.head.length is not None:
            raise BadAnswer(f"connection closed after {self._received} of {self.head.length} body bytes")
        return True

    def _read_head(self, data: bytes) -> bytes | None:
        """Take the head off ``data``; None while it is not complete. Interim answers (1xx) are skipped."""
        data = self._pending + data
        while True:
            if not data.startswith(b"HTTP/"[: len(data)]):
                raise BadAnswer(f"not an HTTP answer: {data[:60]!r}")
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 and len(data) <= MAX_HEAD:
                self._pending = data
                return None
            if end < 4 or end > MAX_HEAD:
                raise BadAnswer(f"a head of more than {MAX_HEAD // 1024} KiB")
            head = self._memory.read(data[:end])
            data = data[end:]
            if head.status >= 200:
                break
            if not data:
                self._pending = b""
                return None
        self._open(head)
        return data

    def _open(self, head: Head) -> None:
        self.head = head
        self._pending = b""
        if not head.ok:
            self._keep = max(self._keep, SNIPPET)
        if head.chunked:
            self._chunks = _ChunkReader(self._take)
        if head.length is not None and head.length > MAX_BODY:
            raise BadAnswer(f"a body of {head.length} bytes announced; the limit is {MAX_BODY}")

    def _count(self, data: bytes) -> bool:
        assert self.head is not None
        self._take(data)
        length = self.head.length
        if length is None:
            return False
        if self._received > length:
            raise BadAnswer(f"{self._received - length} bytes more than the Content-Length of {length}")
        return self._received == length

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_BODY:
            raise BadAnswer(f"a body of more than {MAX_BODY} bytes")
        if len(self.body) < self._keep:
            self.body += data[: self._keep - len(self.body)]


class _ChunkReader:
    """Reads a chunked body through llhttp, which is given a bare head in front of it."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.on_body = take
        self._complete = False
        self._messages = 0
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_message_begin(self) -> None:
        self._messages += 1

    def on_message_complete(self) -> None:
        self._complete = True

    def feed(self, data: bytes) -> bool:
        """True after the last chunk. Raises BadAnswer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise (error.__context__ if isinstance(error.__context__, BadAnswer) else BadAnswer(str(error))) from error
        except httptools.HttpParserError as error:
            raise BadAnswer(f"broken chunks ({error}): {data[:60]!r}") from error
        if self._messages > 1:
            raise BadAnswer("bytes after the last chunk")
        return self._complete
