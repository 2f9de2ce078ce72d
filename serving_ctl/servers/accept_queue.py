"""A server's queue before its own code: the connections that the kernel has taken and the server has not.

Asked of Linux by sock_diag(7), for listening sockets alone: some 30 µs however many connections are open, where reading
/proc/net/tcp takes milliseconds.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

SOCK_DIAG = 4
"""The netlink protocol NETLINK_SOCK_DIAG."""
BY_FAMILY = 20
REQUEST_DUMP = 0x301
DONE = {2, 3}
"""Message types: an error, the end of the answer."""
LISTENING = 1 << 10
"""The state TCP_LISTEN as a bit."""
HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, pid."""
QUESTION = struct.Struct("=BBBBI48x")
"""inet_diag_req_v2: family, protocol, extensions, padding, states, and no socket in particular."""
PORT_AT, QUEUE_AT = HEADER.size + 4, HEADER.size + 56
"""Where inet_diag_msg has the socket's own port (network order) and ``idiag_rqueue``, a listener's accept queue."""


def waiting(port: int) -> int | None:
    """Connections in the accept queue of whoever listens on ``port``; None when nobody does or it cannot be asked."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = [queued for family in (socket.AF_INET, socket.AF_INET6) for at, queued in _queues(family) if at == port]
    except OSError:  # a container without this netlink protocol
        return None
    return sum(found) if found else None


def _queues(family: int) -> Iterator[tuple[int, int]]:
    """(port, accept queue) of each listening TCP socket of ``family``."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        question = QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, LISTENING)
        kernel.send(HEADER.pack(HEADER.size + len(question), BY_FAMILY, REQUEST_DUMP, 1, 0) + question)
        while True:
            answer = kernel.recv(65536)
            while answer:
                length, kind, *_ = HEADER.unpack_from(answer)
                if kind in DONE:
                    return
                (port,) = struct.unpack_from("!H", answer, PORT_AT)
                (queued,) = struct.unpack_from("=I", answer, QUEUE_AT)
                yield port, queued
                answer = answer[(length + 3) & ~3 :]
