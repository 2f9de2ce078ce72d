"""A server with a known delay: it answers each request after its time and stamps how long that really took.

Arrival is when the kernel received the request (SO_TIMESTAMPNS), so that the server's own waking up is in the truth;
what a client reports beyond it is the client's. `python delay_server.py KIND` says its port on stdout; when stdin ends
it prints p50 and p99 of the delays as they were.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

DELAYS = ("fixed 5 ms", "log-normal")
BODY = b'{"predictions": [[0.5, 0.5]]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
SO_TIMESTAMPNS = 35


@contextlib.contextmanager
def delay_server(kind: str) -> Iterator[tuple[str, Callable[[], tuple[float, float]]]]:
    """The URL of a server with that delay, and a function that asks it for the true p50 and p99, in ms."""
    command = [sys.executable, __file__, kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def truth() -> tuple[float, float]:
            process.stdin.close()
            p50, p99 = json.loads(process.stdout.readline())
            return p50, p99

        yield f"http://127.0.0.1:{port}/", truth


def serve(kind: str) -> list[float]:
    """Answer until stdin ends; returns the delays in ms, ascending."""
    seeded = random.Random(1)
    next_ns = {"fixed 5 ms": lambda: 5e6, "log-normal": lambda: 5e6 * seeded.lognormvariate(0.0, 0.5)}[kind]
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    clients: set[socket.socket] = set()
    due: list[tuple[int, int, int, socket.socket]] = []
    real: list[float] = []
    while True:
        wait_s = max((due[0][0] - time.time_ns()) / 1e9, 0.0) if due else None
        readable, _, _ = select.select([listener, sys.stdin, *clients], [], [], wait_s)
        if sys.stdin in readable:
            return sorted(real)
        for ready in readable:
            if ready is listener:
                clients.add(accept(listener))
            elif arrived := arrival_ns(ready):
                heappush(due, (arrived + int(next_ns()), id(ready), arrived, ready))
            else:
                clients.discard(ready)
                ready.close()
        while due and due[0][0] <= time.time_ns():
            _, _, arrived, client = heappop(due)
            sent = time.time_ns()
            with contextlib.suppress(OSError):
                client.send(ANSWER)
                real.append((sent - arrived) / 1e6)


def accept(listener: socket.socket) -> socket.socket:
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return client


def arrival_ns(client: socket.socket) -> int | None:
    """When the kernel received what is read now (Unix time); None when the client is gone."""
    try:
        data, ancillary, _, _ = client.recvmsg(65536, 256)
    except OSError:
        return None
    if not data:
        return None
    stamps = [struct.unpack("qq", value[:16]) for _, kind, value in ancillary if kind == SO_TIMESTAMPNS]
    return stamps[0][0] * 1_000_000_000 + stamps[0][1] if stamps else time.time_ns()


if __name__ == "__main__":
    delays = serve(sys.argv[1])
    print(json.dumps([delays[len(delays) // 2], delays[len(delays) * 99 // 100]]))
