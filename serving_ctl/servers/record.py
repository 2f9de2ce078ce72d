"""What is kept on disk of a server that runs, so that another tfserve-tui finds it again; and who may touch it.

One JSON file a server in the state folder, written before the start (so that nothing started is ever unknown),
again when process or container exist, and when ready. The lock is the kernel's: it dies with its owner.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from serving_ctl.errors import ServerStartError

LOCK_POLL_S = 0.1


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One started server."""

    server: str
    runtime: str
    label: str
    url: str
    also: tuple[str, ...] = ()
    """Further addresses that share the load with ``url``."""
    version: str = "?"
    model: str
    """Base folder of the model, absolute; empty for an external server."""
    asked: dict[str, str]
    """The settings it was started with; a start with others is refused while it runs."""
    detail: str = ""
    pid: int | None = None
    created: float | None = None
    """psutil's create_time of ``pid``, seconds since the epoch: tells a process from a later one with its number."""
    container: str = ""
    """Container name; empty for a process."""
    service: str = ""
    """Name of the Swarm service; empty for anything else."""
    address: str = ""
    """Where the ports of a Swarm service's tasks are reached on the engine's own node."""
    engine: str = ""
    """URL of the Docker engine it is on; empty for this machine's."""
    tunnel: tuple[str, ...] = ()
    """The command that makes its port reachable from here, where one is needed."""
    started_at: float = msgspec.field(default_factory=time.time)
    cold_ms: float | None = None
    ready: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """All its addresses."""
        return (self.url, *self.also)

    def is_same(self, other: Record) -> bool:
        """Whether both are of one start, whatever became known of it later."""
        mine, theirs = ((one.pid, one.created, one.container, one.service, one.started_at) for one in (self, other))
        return mine == theirs

    def facts(self) -> dict[str, object]:
        """What an event tells of it."""
        return {
            "runtime": self.runtime,
            "label": self.label,
            "url": self.url,
            "addresses": self.urls if self.also else (),
            "version": self.version,
            "started_at": self.started_at,
            "cold_ms": self.cold_ms,
            "ours": self.runtime != "external",
        }


@dataclass(frozen=True)
class StateFiles:
    """The files of one server in the state folder."""

    folder: Path
    server: str

    @property
    def record(self) -> Path:
        """The pid file."""
        return self.folder / f"{self.server}.json"

    @property
    def log(self) -> Path:
        """What the server wrote since its last start."""
        return self.folder / f"{self.server}.log"

    @property
    def config(self) -> Path:
        """Folder of the effective models.config and monitoring.config; readable for the container's user."""
        return self.folder / f"{self.server}-config"

    @property
    def control_socket(self) -> Path:
        """gunicorn's control socket."""
        return self.folder / f"{self.server}.ctl"

    @property
    def worker_counts(self) -> Path:
        """Folder with one file a gunicorn worker: requests served."""
        return self.folder / f"{self.server}-workers"

    @property
    def mark(self) -> str:
        """Value of TFSERVE_TUI_SERVER in the environment of every process started for this server and folder."""
        return f"{self.server}@{self.folder}"

    def read(self) -> Record | None:
        """The record, or None; one that cannot be read is no record."""
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, record: Record) -> None:
        """Replace the record at once: a reader sees the old one or the new one."""
        fresh = self.record.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_bytes(msgspec.json.encode(record))
        fresh.replace(self.record)

    def forget(self) -> None:
        """Remove the record."""
        self.record.unlink(missing_ok=True)

    def new_log(self) -> Path:
        """Path of an empty log; the log before is kept as ``.log.1``."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        return self.log

    def busy(self) -> bool:
        """Whether a tfserve-tui is starting or stopping this server right now."""
        handle = self._open_lock()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    @asynccontextmanager
    async def locked(self, wait_s: float) -> AsyncIterator[None]:
        """Hold the right to start or stop this server; raises ServerStartError when another holds it for ``wait_s``."""
        handle = self._open_lock()
        try:
            await self._acquire(handle, time.monotonic() + wait_s)
            yield
        finally:
            os.close(handle)

    def _open_lock(self) -> int:
        return os.open(self.folder / f"{self.server}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    async def _acquire(self, handle: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ServerStartError(
                        f"{self.server}: another tfserve-tui is starting or stopping it; try again when it is done."
                    ) from None
                await asyncio.sleep(LOCK_POLL_S)
            else:
                return
