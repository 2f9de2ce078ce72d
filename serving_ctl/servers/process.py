"""A server as a process of this machine: started in its own session, found again by pid and start time, stopped whole.

It logs to a file, never into a pipe of ours, so that it outlives us. Which program runs is decided in ``spec.py``.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec
import psutil

from serving_ctl.errors import ServerStartError
from serving_ctl.servers.accept_queue import waiting
from serving_ctl.servers.ports import is_free, require_free
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.running import Ending, Usage
from serving_ctl.servers.spec import MARK_VARIABLE, ProcessSpec

GRACE_S = 5.0
KILL_WAIT_S = 5.0
PORT_WAIT_S = 2.0
POLL_S = 0.02
SAME_START_S = 2.0  # create_time is counted from the boot time, which a clock correction moves
TAIL_BYTES = 256 * 1024
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class ServerProcess:
    """A running server process; its record has pid and start time."""

    def __init__(self, files: StateFiles, record: Record, child: subprocess.Popen[bytes] | None = None) -> None:
        self.record = record
        self._files = files
        self._child = child  # None for an adopted one: its parent is gone, the system reaps it
        self._seen: dict[int, tuple[psutil.Process, float]] = {}
        self._sampled_at: float | None = None

    @classmethod
    def start(cls, files: StateFiles, spec: ProcessSpec) -> Self:
        """Start ``spec`` detached and write its record; raises ServerStartError when it cannot be started."""
        require_free(spec.record.server, spec.port)
        files.write(spec.record)
        raise_open_files()
        if spec.record.runtime == "gunicorn":
            _empty_folder(files.worker_counts)
        with files.new_log().open("wb") as log:
            try:
                child = subprocess.Popen(
                    spec.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=files.folder,
                    env=spec.env,
                    start_new_session=True,
                )
            except OSError as error:
                files.forget()
                raise ServerStartError(
                    f"{spec.record.server}: {spec.argv[0]} cannot be run: {error.strerror}."
                ) from None
        created = psutil.Process(child.pid).create_time()
        record = msgspec.structs.replace(spec.record, pid=child.pid, created=created)
        files.write(record)
        return cls(files, record, child)

    @classmethod
    def adopt(cls, files: StateFiles, record: Record) -> Self | None:
        """The process of ``record`` when it still runs, or None; left-over workers of a dead one are killed."""
        found = record if record.pid else _find_unrecorded(files, record)
        process = cls(files, found) if found else None
        if process and process._alive():
            return process
        for survivor in marked(files.mark):
            survivor.kill()
        return None

    @property
    def log_file(self) -> Path | None:
        """Where the server writes."""
        return self._files.log

    async def ended(self) -> Ending | None:
        """How it ended, or None while it runs."""
        if self._alive():
            return None
        return Ending(code=self._child.returncode if self._child else None)

    async def owns_port(self) -> bool:
        """Whether this process has the listening socket; gunicorn's arbiter has its workers' one."""
        port = int(self.record.asked["port"])
        try:
            sockets = psutil.Process(self.record.pid).net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)

    async def trouble(self) -> str:
        """Why it is alive but not well; empty when nothing is known."""
        return ""

    async def version(self) -> str:
        """The version known from the start."""
        return self.record.version

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Ask it to end, then kill what is left of it after ``grace_s``; raises ServerStartError if that fails."""
        assert self.record.pid is not None
        if self._alive():
            _signal(self.record.pid, signal.SIGTERM)
            await self._wait_until(lambda: not self._alive(), grace_s)
        survivors = marked(self._files.mark)
        for survivor in survivors:
            _signal(survivor.pid, signal.SIGKILL)
        gone = lambda: not self._alive() and not any(p.is_running() and _working(p) for p in survivors)  # noqa: E731
        if not await self._wait_until(gone, KILL_WAIT_S):
            raise ServerStartError(f"{self.record.server}: pid {self.record.pid} did not end, even after SIGKILL.")
        # A process with threads is a zombie before the last of them lets go of its sockets.
        await self._wait_until(lambda: is_free(int(self.record.asked["port"])), PORT_WAIT_S)

    async def sample(self) -> Usage | None:
        """CPU since the last sample and memory of the process and its descendants; None on the first call."""
        now, seen = time.monotonic(), dict(self._tree())
        used = sum(cpu - self._seen[pid][1] for pid, (_, cpu) in seen.items() if pid in self._seen)
        memory = sum(_memory(process) for process, _ in seen.values())
        since, self._seen, self._sampled_at = self._sampled_at, seen, now
        if since is None or not seen or now <= since:
            return None
        return Usage(
            cpu_percent=100 * used / (now - since),
            memory_mb=memory / 1e6,
            processes=len(seen),
            waiting=waiting(int(self.record.asked["port"])),
        )

    async def used(self) -> tuple[float, float] | None:
        """CPU seconds so far and memory in MB of the process and its descendants."""
        seen = [member for _, member in self._tree()]
        if not seen:
            return None
        return sum(cpu for _, cpu in seen), sum(_memory(process) for process, _ in seen) / 1e6

    async def log_tail(self, lines: int) -> list[str]:
        """The last ``lines`` lines it wrote."""
        return read_tail(self._files.log, lines)

    def release(self) -> None:
        """Leave it running when we end."""
        if self._child and self._child.poll() is None:
            # Popen's finaliser warns of a child still running; that is what is meant here.
            self._child.returncode = 0

    def _alive(self) -> bool:
        if self._child:
            return self._child.poll() is None
        try:
            process = psutil.Process(self.record.pid)
            same = abs(process.create_time() - (self.record.created or 0.0)) < SAME_START_S
            return same and _working(process)
        except psutil.NoSuchProcess:
            return False

    async def _wait_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def _tree(self) -> Iterator[tuple[int, tuple[psutil.Process, float]]]:
        try:
            leader = psutil.Process(self.record.pid)
            members = [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in members:
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            yield process.pid, (process, times.user + times.system)


def read_tail(path: Path, lines: int) -> list[str]:
    """The last ``lines`` lines of the log at ``path`` without ANSI codes; none when there is no such file."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return ANSI.sub("", text).splitlines()[-lines:]


def raise_open_files() -> None:
    """Let what we start have as many sockets as the system allows (R13): the soft limit rises to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {soft, resource.RLIM_INFINITY}:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _find_unrecorded(files: StateFiles, record: Record) -> Record | None:
    """``record`` with the pid of the process started just before its owner died, or None."""
    started = sorted(marked(files.mark), key=lambda process: process.create_time())
    if not started:
        return None
    return msgspec.structs.replace(record, pid=started[0].pid, created=started[0].create_time())


def marked(mark: str) -> list[psutil.Process]:
    """All processes that carry our mark, workers included."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK_VARIABLE) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _working(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.Error:
        return 0.0


def _empty_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True, mode=0o700)
    for file in folder.iterdir():
        file.unlink()
