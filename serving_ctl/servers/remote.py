"""A Docker engine on another machine: the way to it and to its port (by SSH or directly), and its files as tar.

Only a Unix socket (or Windows pipe) is this machine: through ``tcp://`` or ``ssh://`` nothing can be bind-mounted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from serving_ctl.config import TF_SERVING, TfServingSettings
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.ports import LOOPBACK, accepts, listens
from serving_ctl.servers.process import POLL_S, marked, read_tail
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.spec import MARK_VARIABLE

TUNNEL_LIMIT_S = 20.0
ENGINE_SOCKET = "/var/run/docker.sock"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only for a host name that the user gave as the address to publish on


@dataclass(frozen=True)
class Reach:
    """How the published port of a container is reached: ``engine`` is empty for this machine."""

    engine: str = ""
    bind: str = LOOPBACK
    """Address on the engine's machine that the port is published on."""
    address: str = LOOPBACK
    """Address in our URL."""
    tunnel: bool = False


def reach(engine: str, serving: TfServingSettings) -> Reach:
    """The way to a container on ``engine`` (its URL, empty for this machine)."""
    if not engine:
        return Reach()
    parts = urlsplit(engine)
    address = serving.address or ("" if parts.scheme == "ssh" else parts.hostname or "")
    if not address:
        return Reach(engine, tunnel=True)
    return Reach(engine, bind=address if _is_ip(address) else EVERYWHERE, address=address)


def tunnel_command(engine: str, port: int, remote_port: int) -> tuple[str, ...]:
    """``ssh`` that makes ``remote_port`` on the engine's loopback reachable as ``port`` on ours."""
    return ("ssh", "-N", *_ssh_words(engine, f"{LOOPBACK}:{port}:{LOOPBACK}:{remote_port}"))


def _ssh_words(engine: str, forward: str) -> tuple[str, ...]:
    parts = urlsplit(engine)
    user = f"{parts.username}@" if parts.username else ""
    at = ("-p", str(parts.port)) if parts.port else ()
    options = ("-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15")
    return (*options, "-L", forward, *at, f"{user}{parts.hostname}")


class EngineTunnel:
    """The engine's socket behind ``ssh://``, as a Unix socket here; dies with us, for then its ``cat`` reads the end.

    Blocks until it stands; raises OSError with what ssh said.
    """

    def __init__(self, engine: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tfserve-tui-")
        self.socket = f"{self._folder.name}/docker.sock"
        log = Path(self._folder.name) / "ssh.log"
        words = ("ssh", *_ssh_words(engine, f"{self.socket}:{urlsplit(engine).path or ENGINE_SOCKET}"), "cat")
        with log.open("wb") as output:
            self._ssh = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + TUNNEL_LIMIT_S
        while not listens(self.socket):
            if self._ssh.poll() is not None or time.monotonic() >= deadline:
                said = " ".join(read_tail(log, 2)) or "ssh says nothing"
                self.close()
                raise ConnectionError(said)
            time.sleep(POLL_S)

    @property
    def ended(self) -> bool:
        """Whether ssh is gone."""
        return self._ssh.poll() is not None

    def close(self) -> None:
        """End it."""
        self._ssh.kill()
        self._ssh.communicate()
        self._folder.cleanup()


async def open_tunnel(files: StateFiles, command: tuple[str, ...], port: int) -> None:
    """Start ``command``, which outlives us, and return when ``port`` accepts; raises ServerStartError."""
    log = files.folder / f"{files.server}-tunnel.log"
    with log.open("wb") as output:
        tunnel = subprocess.Popen(  # noqa: ASYNC220 - starting does not wait
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | {MARK_VARIABLE: files.mark},
            start_new_session=True,
        )
    deadline = time.monotonic() + TUNNEL_LIMIT_S
    while not await asyncio.to_thread(accepts, port):
        if tunnel.poll() is not None or time.monotonic() >= deadline:
            close_tunnel(files)
            said = " ".join(read_tail(log, 2)) or "it says nothing"
            raise ServerStartError(f"{TF_SERVING}: no SSH tunnel through {command[-1]}: {said}")
        await asyncio.sleep(POLL_S)
    tunnel.returncode = 0  # it outlives us, of which Popen's finaliser would warn


def close_tunnel(files: StateFiles) -> None:
    """End the tunnel, if there is one."""
    for process in marked(files.mark):
        process.kill()


@contextmanager
def packed(folder: Path) -> Iterator[IO[bytes]]:
    """``folder`` as a tar whose files everybody may read; removed at the end."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(folder, arcname=".", filter=_readable)
        file.seek(0)
        yield file


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode |= 0o555 if entry.isdir() else 0o444
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
