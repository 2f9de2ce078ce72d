"""The built-in server of the calibration (R12): answers every request at once with one fixed JSON body.

Started as ``python -m serving_ctl.load.echo PARENT_PID``; says its port on stdout and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

from serving_ctl.load.limits import die_with_parent, raise_file_limit

_BODY = b'{"predictions": [[0.5, 0.5]]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
LAST_ANSWER = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
CLOSE = ("Connection", "close")
"""The header of a request after whose answer the server closes, as a server without keep-alive does."""
BACKLOG = 4096
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MOST_CONNECTIONS = 10_000


class EchoProtocol(asyncio.Protocol):
    """One connection: counts requests off the stream and answers each; ``respond`` is the place to do it otherwise."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._pending = b""
        self.closes: bool | None = None
        """None until the first request has said it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is now complete."""
        self._pending += data
        if self.closes is None:
            self.closes = b"\r\nConnection: close\r\n" in data
        while (size := _request_size(self._pending)) is not None and size <= len(self._pending):
            self._pending = self._pending[size:]
            self.respond()

    def respond(self) -> None:
        """Answer one request."""
        if self.closes:
            self.transport.write(LAST_ANSWER)
            self.transport.close()
        else:
            self.transport.write(ANSWER)


def _request_size(data: bytes) -> int | None:
    """Bytes of the first request in ``data``, head and body; None while its head is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end)
    return end + 4 + (int(found[1]) if found else 0)


async def serve(protocol: type[EchoProtocol]) -> None:
    """Listen on a free port of 127.0.0.1, write its number to stdout, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    parent = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    await parent.read()
    server.close()


def main(parent: int) -> None:
    """Serve until the parent closes stdin or ends."""
    die_with_parent(parent)
    raise_file_limit(_MOST_CONNECTIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(EchoProtocol))


if __name__ == "__main__":
    main(int(sys.argv[1]))
