"""The workers of one run: checked before anything is measured, given what they need, let go of when they are lost."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from serving_ctl.cluster import agent
from serving_ctl.cluster.clocks import Offset, Reading, offset_of
from serving_ctl.cluster.link import ANSWERED_WITHIN_S, Link, SchedulerGone, WorkerGone, each
from serving_ctl.errors import ClusterError, LoadError

MUSTERED_WITHIN_S = 10.0
DISMISSED_WITHIN_S = 2.0
READINGS = 8
SHIPPED_BYTES_S = 1e6
"""Slower than this, shipping request bodies is given up."""
_LOOK_AGAIN_S = 0.2


class Crew:
    """``workers`` are those that are left, by address; ``offsets`` how their clocks stood when last read."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.workers: tuple[str, ...] = ()
        self.offsets: dict[str, Offset] = {}
        self.losses: list[str] = []
        self._mustered: tuple[str, ...] = ()
        self._listeners: dict[str, Callable[[str, bytes], None]] = {}
        self._kept: set[tuple[str, str]] = set()

    async def muster(self, at_least: int) -> None:
        """Find the workers, compare their versions with ours, put our agent on each. Raises ClusterError."""
        try:
            workers = await self._present(at_least)
            self._compare(await each(workers, lambda worker: self.link.call(worker, agent.about)))
            installed = await each(workers, self.link.install)
            for worker, answer in installed.items():
                if isinstance(answer, WorkerGone):
                    raise ClusterError(f"Dask worker {worker} cannot be used: {answer}.")
            self.workers = self._mustered = workers
            self.link.listen(self._heard)
            await self.read_clocks(workers)
            if not self.workers:
                raise ClusterError(f"No Dask worker says what its clock shows ({'; '.join(self.losses)}).")
        except SchedulerGone:
            raise ClusterError(f"The Dask scheduler at {self.link.address} is gone; is it still running?") from None

    async def dismiss(self) -> None:
        """Take our agent off every worker, with the loads and request bodies it has. Raises nothing."""
        if not self.link.is_up:
            return
        try:
            async with asyncio.timeout(DISMISSED_WITHIN_S):
                await each(self._mustered, self.link.remove)
        except (SchedulerGone, TimeoutError):
            # Out of reach: the agents' lease ends the loads, Dask removes their folders.
            return

    def lose(self, worker: str, why: str) -> None:
        """Go on without ``worker``."""
        if worker in self.workers:
            self.workers = tuple(one for one in self.workers if one != worker)
            self.losses.append(f"{worker}: {why}")

    def listen(self, key: str, heard: Callable[[str, bytes], None] | None) -> None:
        """Pass what is said of the load ``key`` on to ``heard``; None ends that."""
        if heard is None:
            self._listeners.pop(key, None)
        else:
            self._listeners[key] = heard

    async def read_clocks(self, workers: Sequence[str]) -> None:
        """Read the clocks of ``workers`` several times; who does not answer is lost. Raises SchedulerGone."""

        async def read(worker: str) -> Offset:
            return offset_of([await self._reading(worker) for _ in range(READINGS)])

        for worker, found in (await each(workers, read)).items():
            if isinstance(found, WorkerGone):
                self.lose(worker, str(found))
            else:
                self.offsets[worker] = found

    async def ship(self, path: str, workers: Sequence[str]) -> str:
        """Let ``workers`` have the file of request bodies, once; returns its name there. Raises LoadError."""
        data, digest = await asyncio.to_thread(_read, path)
        missing = [worker for worker in workers if (worker, digest) not in self._kept]
        limit = ANSWERED_WITHIN_S + len(data) * max(len(missing), 1) / SHIPPED_BYTES_S
        answers = await each(
            missing, lambda worker: self.link.ask(worker, "keep", within_s=limit, digest=digest, data=data)
        )
        for worker, problem in answers.items():
            if isinstance(problem, WorkerGone):
                self.lose(worker, str(problem))
            elif problem:
                raise LoadError(f"Dask worker {worker}: {problem}.")
            else:
                self._kept.add((worker, digest))
        return digest

    def hosts(self, workers: Iterable[str]) -> int:
        """On how many hosts ``workers`` are, by their addresses."""
        return len({urlsplit(worker).hostname for worker in workers})

    async def _present(self, at_least: int) -> tuple[str, ...]:
        deadline = time.monotonic() + MUSTERED_WITHIN_S
        while len(workers := await self.link.workers()) < at_least:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        if not workers:
            start = f"start some with `dask worker {self.link.address}`"
            raise ClusterError(f"The Dask scheduler at {self.link.address} has no workers; {start}.")
        return workers

    def _compare(self, versions: dict[str, object]) -> None:
        ours = agent.about()
        for worker, theirs in versions.items():
            same = f"install tfserve-tui[cluster]=={ours['tfserve-tui']} there"
            if not isinstance(theirs, dict):
                raise ClusterError(f"Dask worker {worker} cannot carry out load ({theirs}); {same}.")
            wrong = [
                f"{name} {theirs.get(name)} instead of {ours[name]}" for name in ours if theirs[name] != ours[name]
            ]
            if wrong:
                raise ClusterError(f"Dask worker {worker} has {', '.join(wrong)}; the same is needed everywhere.")

    async def _reading(self, worker: str) -> Reading:
        asked, wall_asked = time.monotonic_ns(), time.time_ns()
        monotonic, wall = await self.link.ask(worker, "clocks")
        answered = time.monotonic_ns()
        return Reading(asked=asked, answered=answered, wall_asked=wall_asked, monotonic=monotonic, wall=wall)

    def _heard(self, key: str, kind: str, text: bytes) -> None:
        if listener := self._listeners.get(key):
            listener(kind, text)


def _read(path: str) -> tuple[bytes, str]:
    """What the file holds, and its SHA-256."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise LoadError(f"body file {path}: {error.strerror or error}; give a readable file") from error
    return data, hashlib.sha256(data).hexdigest()
