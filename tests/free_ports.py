"""Ports for servers that are told theirs: one that was found free stays this process's own until it ends."""

from __future__ import annotations

import random
import socket

# Below what Linux (32768) and macOS (49152) give to clients and to port 0 by themselves.
_FIRST, _LAST = 20_000, 32_000
_claims: list[socket.socket] = []


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, and that no other process of the tests is given meanwhile."""
    while True:
        port = random.randint(_FIRST, _LAST)
        # The same number as a UDP port is the claim: the kernel gives it once, and back when the process ends.
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
