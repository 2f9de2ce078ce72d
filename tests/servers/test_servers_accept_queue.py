"""The queue that the kernel keeps for a server, asked of real sockets."""

from __future__ import annotations

import socket
import sys

import pytest

from serving_ctl.servers.accept_queue import waiting


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the accept queue")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_connections_that_nobody_accepts_wait(family: socket.AddressFamily) -> None:
    address = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.socket(family) as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        assert waiting(port) is None, "nobody listens yet"
        server.listen(8)
        assert waiting(port) == 0
        clients = [socket.create_connection((address, port)) for _ in range(3)]
        assert waiting(port) == 3
        server.accept()[0].close()
        assert waiting(port) == 2
        for client in clients:
            client.close()
