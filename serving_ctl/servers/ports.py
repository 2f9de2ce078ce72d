"""Who listens on a port or socket: what a start asks before it takes one, and what a refusal says."""

from __future__ import annotations

import errno
import socket

import psutil

from serving_ctl.errors import ServerStartError

LOOPBACK = "127.0.0.1"


def require_free(server: str, port: int) -> None:
    """Raise ServerStartError naming the process when ``port`` on 127.0.0.1 is taken or may not be used."""
    try:
        _bind(port)
    except PermissionError:
        raise ServerStartError(
            f"{server}: port {port} may only be used by root; set a port above 1023 in [{server}]."
        ) from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise port_taken(server, port) from None


def is_free(port: int) -> bool:
    """Whether ``port`` on 127.0.0.1 can be taken now."""
    try:
        _bind(port)
    except OSError:
        return False
    return True


def _bind(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))


def listens(path: str) -> bool:
    """Whether somebody listens on the Unix socket ``path``."""
    try:
        require_listener(path)
    except OSError:
        return False
    return True


def port_taken(server: str, port: int) -> ServerStartError:
    """The error for a taken port, with the process that has it."""
    return ServerStartError(
        f"{server}: port {port} is taken by {holder(port)}; end it, or set another port in [{server}]"
        ' (to measure it as it is: runtime = "external").'
    )


def holder(port: int) -> str:
    """The process listening on ``port``, as ``name (pid N)``."""
    try:
        listeners = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS lets only root see other users' sockets
        return "another process"
    for connection in listeners:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return _describe(connection.pid)
    return "another process"


def accepts(port: int, host: str = LOOPBACK, timeout_s: float = 1.0) -> bool:
    """Whether a TCP connect to ``port`` succeeds."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def require_listener(path: str, timeout_s: float = 5.0) -> None:
    """Raise OSError when nobody listens on the Unix socket ``path``.

    Asked before a library connects to it: docker's and gunicorn's leave their own socket open when they fail.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout_s)
        probe.connect(path)


def _describe(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        name = psutil.Process(pid).name()
    except psutil.Error:
        return f"pid {pid}"
    container = " (a container publishes it: see docker ps)" if name == "docker-proxy" else ""
    return f"{name} (pid {pid}){container}"
