"""gunicorn's workers: who they are, what they use, and adding, removing and replacing them.

Asked through gunicorn's control socket (gunicorn ≥ 25.1); requests are counted by the hook in gunicorn.conf.py,
CPU and memory by psutil. A worker of gunicorn's table that psutil no longer finds is left out.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import psutil

from serving_ctl.errors import ServerAnswerError
from serving_ctl.servers.ports import require_listener
from serving_ctl.servers.process import POLL_S, ServerProcess

CONTROL_LIMIT_S = 5.0
FORK_LIMIT_S = 2.0
LOOP_WINDOW_S = 30.0
LOOP_DEATHS = 3  # as many workers lost within the window, unasked, are a crash loop


@dataclass(frozen=True)
class Worker:
    """One worker process. CPU is since the last look (100 = one core), None at the first; memory is resident."""

    pid: int
    cpu_percent: float | None
    memory_mb: float
    requests: int
    started_at: float
    """Seconds since the epoch."""


class GunicornServer(ServerProcess):
    """gunicorn's arbiter and its workers."""

    _spawned: tuple[tuple[float, int], ...] = ()  # (clock s, workers spawned so far), youngest last
    _asked_for = 0  # workers whose spawning we asked for
    _known: dict[int, psutil.Process] | None = None

    async def workers(self) -> tuple[Worker, ...]:
        """The workers, oldest first. Raises ServerAnswerError when gunicorn does not answer."""
        answer = await self._ask("show workers")
        pids = [worker["pid"] for worker in sorted(answer["workers"], key=lambda worker: worker["age"])]
        before = self._known or {}
        self._known = {pid: before.get(pid) or psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)}
        found = (self._look(process, first=pid not in before) for pid, process in self._known.items())
        return tuple(worker for worker in found if worker)

    async def add_workers(self, count: int) -> None:
        """Start ``count`` more workers. Raises ServerAnswerError."""
        answer = await self._ask(f"worker add {count}")
        self._asked_for += count
        self._relabel(answer["total"])

    async def remove_workers(self, count: int) -> None:
        """End ``count`` workers, the oldest first; gunicorn keeps at least one. Raises ServerAnswerError."""
        answer = await self._ask(f"worker remove {count}")
        self._relabel(answer["total"])

    async def replace_worker(self, pid: int) -> None:
        """End worker ``pid`` when it has answered; gunicorn starts another. Raises ServerAnswerError."""
        answer = await self._ask(f"worker kill {pid}")
        if not answer["success"]:
            raise ServerAnswerError(f"gunicorn: {answer['error']}")
        self._asked_for += 1

    async def trouble(self) -> str:
        """Whether workers die as fast as they are started."""
        if not self._files.control_socket.exists():
            return ""
        try:
            stats = await self._ask("show stats")
        except ServerAnswerError as error:
            return f"The arbiter does not answer: {error}"
        now, spawned = time.monotonic(), stats["workers_spawned"] - self._asked_for
        recent = tuple(entry for entry in self._spawned if now - entry[0] <= LOOP_WINDOW_S)
        self._spawned = (*recent, (now, spawned))
        deaths = spawned - self._spawned[0][1]
        if deaths < LOOP_DEATHS:
            return ""
        return f"Workers keep dying: {deaths} were replaced in the last {LOOP_WINDOW_S:g} s; look at the log."

    def _relabel(self, workers: int) -> None:
        """A label with another number of workers: it stands on every result."""
        label = re.sub(r"^gunicorn \d+", f"gunicorn {workers}", self.record.label)
        self.record = msgspec.structs.replace(self.record, label=label)
        self._files.write(self.record)

    async def _ask(self, command: str) -> dict[str, Any]:
        return await asyncio.to_thread(self._ask_now, command)

    def _ask_now(self, command: str) -> dict[str, Any]:
        from gunicorn.ctl.client import ControlClient, ControlClientError

        deadline = time.monotonic() + FORK_LIMIT_S
        while True:
            self._await_socket()
            try:
                with ControlClient(str(self._files.control_socket), timeout=CONTROL_LIMIT_S) as client:
                    return dict(client.send_command(command))
            except ControlClientError as error:
                # While it forks, gunicorn cuts connections: a question is asked again, a change may be made already.
                if not command.startswith("show ") or time.monotonic() >= deadline:
                    raise ServerAnswerError(f"gunicorn's control socket: {error}") from None
            time.sleep(POLL_S)

    def _await_socket(self) -> None:
        """Return when the control socket is there: gunicorn takes it away while it forks a worker."""
        deadline = time.monotonic() + FORK_LIMIT_S
        while True:
            try:
                require_listener(str(self._files.control_socket))
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise ServerAnswerError(f"gunicorn's control socket: {error.strerror or error}") from None
                time.sleep(POLL_S)
            else:
                return

    def _look(self, process: psutil.Process, *, first: bool) -> Worker | None:
        try:
            with process.oneshot():
                cpu = process.cpu_percent()
                return Worker(
                    pid=process.pid,
                    cpu_percent=None if first else cpu,
                    memory_mb=process.memory_info().rss / 1e6,
                    requests=self._requests(process.pid),
                    started_at=process.create_time(),
                )
        except psutil.Error:
            return None

    def _requests(self, pid: int) -> int:
        try:
            return int((self._files.worker_counts / str(pid)).read_text(encoding="ascii") or 0)
        except FileNotFoundError:
            return 0
