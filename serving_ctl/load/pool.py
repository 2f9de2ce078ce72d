"""Starts load processes, hands each its share of a spec, merges what they say; ends them at once when cancelled."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

import serving_ctl
from serving_ctl.errors import LoadError
from serving_ctl.load import limits
from serving_ctl.load.balance import names
from serving_ctl.load.merge import combine_results, combine_ticks, merge_results
from serving_ctl.load.wire import parse_url
from serving_ctl.load.work import Action, Command, Failed, LoadResult, LoadSpec, Ready, Stage, Tick

__all__ = ["Control", "Told", "auto_processes", "merge_results", "module_environment", "run_load", "split"]

_LONGEST_LINE = 1 << 27
_Message = Tick | LoadResult | Ready | Failed
_decode = msgspec.json.Decoder(_Message).decode


class WorkerLost(LoadError):
    """A load process ended without a result."""


class Told(Protocol):
    """What carries out commands: a load process, or something that passes them on to one."""

    def tell(self, message: Command, /) -> None:
        """Carry out ``message``."""


class Control:
    """Steers one run while ``run_load`` is awaited; processes that begin later, or anew, are told all that was said."""

    def __init__(self) -> None:
        self._workers: Sequence[Told] = ()
        self._said: list[Command] = []

    def pause(self) -> None:
        """Send nothing until ``resume``; the window's clock stands still."""
        self.tell(Command(action=Action.PAUSE))

    def resume(self) -> None:
        """Go on after ``pause``."""
        self.tell(Command(action=Action.RESUME))

    def skip(self) -> None:
        """End the run now with what was measured so far; its result says SKIPPED."""
        self.tell(Command(action=Action.SKIP))

    def change_clients(self, change: int) -> None:
        """Add ``change`` clients, or take some away when negative (at least one stays in each process)."""
        self.tell(Command(action=Action.CLIENTS, change=change))

    def redirect(self, urls: Sequence[str]) -> None:
        """The addresses have changed; a load of one address follows when it is ``movable``."""
        self.tell(Command(action=Action.REDIRECT, urls=tuple(urls)))

    def attach(self, workers: Sequence[Told]) -> None:
        """From now on steer ``workers``, which share the run; what was said before is told to them now."""
        self._workers = workers
        for command in self._said:
            self._pass_on(command)

    def tell(self, command: Command, /) -> None:
        """Pass a command on, now and to whatever is attached later."""
        self._said.append(command)
        self._pass_on(command)

    def _pass_on(self, command: Command) -> None:
        if not self._workers:
            return
        sign = -1 if command.change < 0 else 1
        shares = _shares(abs(command.change), len(self._workers))
        for worker, share in zip(self._workers, shares, strict=True):
            if share or not command.change:
                worker.tell(msgspec.structs.replace(command, change=sign * share))


class _Worker:
    """One load process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self._lines = process.stdout
        self._complaints = asyncio.create_task(process.stderr.read())

    @classmethod
    async def start(cls, spec: LoadSpec) -> _Worker:
        # -P: a file in the user's folder that is named like a library is not imported in its place.
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "serving_ctl.load.worker", str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
                env=module_environment(),
            )  # fmt: skip
        except OSError as error:
            raise LoadError(f"a load process could not be started: {error}") from error
        worker = cls(process)
        worker.tell(spec)
        return worker

    def tell(self, message: LoadSpec | Command, /) -> None:
        """Write one line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")

    async def hear(self) -> _Message:
        """The next line. Raises LoadError for what the process says it cannot do, WorkerLost when it is gone."""
        line = await self._lines.readline()
        if line.endswith(b"\n"):  # else it was lost in the middle of one
            message: _Message = _decode(line)
            if isinstance(message, Failed):
                raise LoadError(message.text)
            return message
        code = await self._process.wait()
        said = (await self._complaints).decode("utf-8", "replace").strip().rpartition("\n")[2]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise WorkerLost(f"a load process was lost ({how}){': ' if said else ''}{said}")

    async def end(self) -> None:
        """Kill the process if it still runs, and reap it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._complaints


async def run_load(
    spec: LoadSpec,
    *,
    processes: int = 1,
    on_tick: Callable[[Tick], None] | None = None,
    on_warm: Callable[[], Awaitable[None]] | None = None,
    control: Control | None = None,
) -> LoadResult:
    """Run ``spec`` in ``processes`` load processes. A run that loses a process is marked WORKER-LOST and retried once.

    ``on_warm`` is awaited between the warm-up and the first counted request (again in a retry).
    Cancelling the task ends the processes at once. Raises LoadError with a text for the user.
    """
    shares = split(spec, processes)
    limits.check_ports(spec.clients)
    control = control or Control()
    try:
        return await _run(shares, on_tick, on_warm, control)
    except WorkerLost:
        result = await _run(shares, on_tick, on_warm, control)
        return msgspec.structs.replace(result, flags=(*result.flags, "WORKER-LOST"))


def auto_processes(clients: int) -> int:
    """Load processes that leave one core to the servers: cores − 1, at least 1, at most one a client."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(cores - 1, clients), 1)


def module_environment() -> dict[str, str]:
    """The environment in which ``python -P -m serving_ctl…`` finds this very package."""
    return {**os.environ, "PYTHONPATH": str(Path(serving_ctl.__file__).parents[1])}


async def _run(
    shares: list[LoadSpec],
    on_tick: Callable[[Tick], None] | None,
    on_warm: Callable[[], Awaitable[None]] | None,
    control: Control,
) -> LoadResult:
    workers: list[_Worker] = []
    following: list[asyncio.Task[LoadResult]] = []
    try:
        for share in shares:
            worker = await _Worker.start(share)
            workers.append(worker)
        control.attach(workers)
        stream = _Stream(workers, on_tick, on_warm)
        following = [asyncio.create_task(stream.follow(i)) for i in range(len(workers))]
        results = await asyncio.gather(*following)
    finally:
        control.attach(())
        for task in following:
            task.cancel()
        await asyncio.gather(*(worker.end() for worker in workers))
    return results[0] if len(results) == 1 else combine_results(results)


class _Stream:
    """What the processes of one run say, brought together."""

    def __init__(
        self,
        workers: list[_Worker],
        on_tick: Callable[[Tick], None] | None,
        on_warm: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._workers = workers
        self._on_tick = on_tick
        self._on_warm = on_warm
        self._unready = len(workers)
        self._latest: dict[int, Tick] = {}
        self._since: list[Tick] = []

    async def follow(self, index: int) -> LoadResult:
        """Listen to one process up to its result; when the last is ready, all are let go."""
        while True:
            message = await self._workers[index].hear()
            match message:
                case LoadResult():
                    return message
                case Tick():
                    self._tick(index, message)
                case Ready():
                    self._unready -= 1
                    if not self._unready:
                        await self._let_go()

    async def _let_go(self) -> None:
        if self._on_warm is not None:
            await self._on_warm()
        for worker in self._workers:
            worker.tell(Command(action=Action.GO))

    def _tick(self, index: int, tick: Tick) -> None:
        if self._on_tick is None:
            return
        if len(self._workers) == 1:
            self._on_tick(tick)
            return
        self._latest[index] = tick
        self._since.append(tick)
        if index == 0:
            since, self._since = self._since, []
            self._on_tick(combine_ticks([self._latest[i] for i in sorted(self._latest)], since))


def split(spec: LoadSpec, processes: int) -> list[LoadSpec]:
    """Each process's share: clients, counts and rate divided, bodies and seeds apart. Raises LoadError."""
    _check(spec)
    if not 1 <= processes <= spec.clients:
        raise LoadError(f"{spec.clients} clients cannot be shared by {processes} processes; use 1 … {spec.clients}")
    if processes == 1:
        return [spec]
    return [_share(spec, i, processes) for i in range(processes)]


def _check(spec: LoadSpec) -> None:
    """Raise LoadError for a spec that could never run."""
    stop, rate = spec.stop, spec.rate_rps
    if spec.clients < 1:
        raise LoadError(f"{spec.clients} clients cannot send anything; use 1 or more")
    if stop.requests <= 0 and stop.seconds <= 0 and not spec.stages:
        raise LoadError("a run of 0 requests and 0 seconds never begins; give a count or a duration")
    if rate is not None and (rate < 0 or (rate == 0 and not spec.stages)):
        raise LoadError(f"a rate of {rate:g} requests/s cannot be held; use one above 0")
    if any(stage.seconds <= 0 or stage.target < 0 for stage in spec.stages):
        raise LoadError("each stage of a ramp needs seconds above 0 and a target that is not negative")
    if spec.arrivals not in ("constant", "poisson"):
        raise LoadError(f"arrivals {spec.arrivals!r} are unknown; use 'constant' or 'poisson'")
    if min(spec.timeout_s, spec.tick_s) <= 0:
        raise LoadError("timeout_s and tick_s must be above 0")
    if spec.also:
        names([parse_url(url) for url in (spec.url, *spec.also)])


def _share(spec: LoadSpec, i: int, processes: int) -> LoadSpec:
    def share(whole: int) -> int:
        return _shares(whole, processes)[i]

    clients = share(spec.clients)
    part = clients / spec.clients
    # Each process goes on in the turn of the addresses where the one before ended.
    urls = (spec.url, *spec.also)
    turn = sum(_shares(spec.clients, processes)[:i]) % len(urls)
    first, *also = urls[turn:] + urls[:turn]
    stop = msgspec.structs.replace(
        spec.stop, requests=share(spec.stop.requests), floor_requests=share(spec.stop.floor_requests)
    )
    return msgspec.structs.replace(
        spec,
        url=first,
        also=tuple(also),
        clients=clients,
        stop=stop,
        rate_rps=spec.rate_rps * part if spec.rate_rps is not None else None,
        stages=tuple(Stage(seconds=stage.seconds, target=stage.target * part) for stage in spec.stages),
        seed=spec.seed + i,
        first_body=spec.first_body + i,
        samples=spec.samples if i == 0 else 0,
    )


def _shares(whole: int, parts: int) -> list[int]:
    """``whole`` in ``parts`` almost equal parts, the larger ones first."""
    return [whole // parts + (1 if i < whole % parts else 0) for i in range(parts)]
