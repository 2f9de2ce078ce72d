"""One load shared by several Dask workers: begun together, watched, steered, ended, and put together again.

A worker that breaks off, or says nothing for ``SILENCE_S``, is lost: its requests count as lost, the others go on.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from serving_ctl.cluster.clocks import skew_ns
from serving_ctl.cluster.link import SchedulerGone, WorkerGone, each
from serving_ctl.errors import LoadError, RunIncomplete
from serving_ctl.events import Origin
from serving_ctl.load.merge import combine_results, combine_ticks
from serving_ctl.load.pool import Control
from serving_ctl.load.work import Command, ErrorKind, Fault, LoadResult, LoadSpec, Tick
from serving_ctl.stats.latency import Counts

if TYPE_CHECKING:
    from serving_ctl.cluster.crew import Crew

SILENCE_S = 5.0
ENDED_WITHIN_S = 1.5
LOOK_S = 0.5
RENEW_WITHIN_S = 3.0
LEAD_S = 0.1
"""How long before the agreed instant it is made known, besides four round trips."""
WORKER_LOST = "WORKER-LOST"
_numbers = itertools.count()


class Member:
    """A worker's part in one load. ``heard_at`` is our monotonic time, ``agreed`` and ``started`` are its own in ns."""

    def __init__(self, worker: str, key: str, share: LoadSpec) -> None:
        self.worker, self.key, self.share = worker, key, share
        self.present = asyncio.Event()
        """Set when the worker has said anything of this load."""
        self.commands: asyncio.Queue[Command] = asyncio.Queue()
        self.warm = asyncio.Event()
        """Set when it waits for the start, and when it is over."""
        self.heard_at = time.monotonic()
        self.latest: Tick | None = None
        self.agreed = 0
        self.started: int | None = None
        self.result: LoadResult | None = None
        self.lost = ""
        self.task: asyncio.Task[None]

    def tell(self, message: Command, /) -> None:
        """Pass a command on to the worker, after those before it and not before it has begun."""
        self.commands.put_nowait(message)

    @property
    def known(self) -> int:
        """Requests of its counted phases that were known by its last tick, those in flight too."""
        tick = self.latest
        return 0 if tick is None or tick.phase == "warmup" else tick.requests + tick.errors + tick.in_flight


class SharedLoad:
    """Carries out ``spec`` once; ``shares`` says what each worker does."""

    def __init__(
        self,
        crew: Crew,
        spec: LoadSpec,
        shares: Mapping[str, LoadSpec],
        on_tick: Callable[[Tick], None] | None,
        on_warm: Callable[[], Awaitable[None]] | None,
    ) -> None:
        number = next(_numbers)
        self._crew, self._spec, self._on_tick, self._on_warm = crew, spec, on_tick, on_warm
        self._members = [Member(worker, f"{number}/{i}", share) for i, (worker, share) in enumerate(shares.items())]
        self._since: list[Tick] = []
        self._messages: set[asyncio.Task[None]] = set()

    async def run(self, control: Control) -> LoadResult:
        """From warm-up to result. Raises LoadError, SchedulerGone, and RunIncomplete when every worker was lost."""
        for member in self._members:
            self._crew.listen(member.key, partial(self._heard, member))
            member.task = asyncio.create_task(self._follow(member))
        helpers = [asyncio.create_task(work) for work in (self._watch(), *map(self._post, self._members))]
        try:
            control.attach(self._members)
            await self._begin_together()
            await asyncio.gather(*(member.task for member in self._members))
        finally:
            control.attach(())
            for helper in helpers:
                helper.cancel()
            await self._end_unfinished()
        return self._result()

    async def _follow(self, member: Member) -> None:
        """One worker from its warm-up to its result."""
        try:
            spec = msgspec.json.encode(member.share)
            answer = await self._crew.link.ask(member.worker, "load", within_s=None, key=member.key, spec=spec)
            if "result" in answer:
                member.result = msgspec.json.decode(answer["result"], type=LoadResult)
                member.started = answer["started"]
            elif "lost" in answer:
                self._lose(member, answer["lost"])
            else:
                raise LoadError(f"Dask worker {member.worker}: {answer['problem']}")
        except WorkerGone as gone:
            self._lose(member, str(gone))
        except asyncio.CancelledError:
            if not member.lost:
                raise
        finally:
            member.warm.set()

    async def _begin_together(self) -> None:
        """When all are warm: look at the server, read the clocks, agree on an instant."""
        await asyncio.gather(*(member.warm.wait() for member in self._members))
        for member in self._members:
            if member.task.done():
                member.task.result()
        waiting = [member for member in self._members if not member.task.done()]
        if not waiting:
            return
        if self._on_warm is not None:
            await self._on_warm()
        await self._crew.read_clocks([member.worker for member in waiting])
        for member in waiting:
            if member.worker not in self._crew.workers:
                self._lose(member, "its clock could not be read")
        waiting = [member for member in waiting if not member.lost]
        offsets = self._crew.offsets
        longest = max((2 * offsets[member.worker].error for member in waiting), default=0)
        instant = time.monotonic_ns() + int(LEAD_S * 1e9) + 4 * longest
        for i, member in enumerate(waiting):
            member.latest = None
            member.agreed = offsets[member.worker].theirs(instant + self._stagger_ns(i))
        asked = {member.worker: member for member in waiting}
        answers = await each(list(asked), lambda worker: self._say_start(asked[worker]))
        for worker, answer in answers.items():
            if isinstance(answer, WorkerGone):
                self._lose(asked[worker], str(answer))

    async def _say_start(self, member: Member) -> None:
        await self._crew.link.ask(member.worker, "start", key=member.key, at=member.agreed)

    def _stagger_ns(self, i: int) -> int:
        """Worker i of an even open loop begins i intervals of the whole rate later: else all would send at once."""
        spec = self._spec
        even = spec.rate_rps and spec.arrivals == "constant" and not spec.stages
        return int(i / spec.rate_rps * 1e9) if even and spec.rate_rps else 0

    async def _watch(self) -> None:
        """Renew every lease, and lose who is silent."""
        renewals: dict[str, asyncio.Task[None]] = {}
        while True:
            for member in self._members:
                if member.task.done():
                    continue
                if time.monotonic() - member.heard_at > SILENCE_S:
                    self._lose(member, f"nothing was heard from it for {SILENCE_S:g} s")
                elif member.key not in renewals or renewals[member.key].done():
                    renewals[member.key] = self._send(member, "clocks", RENEW_WITHIN_S)
            await asyncio.sleep(LOOK_S)

    def _send(self, member: Member, do: str, within_s: float, **given: object) -> asyncio.Task[None]:
        """Ask without waiting; what fails shows in the member's own task."""

        async def ask() -> None:
            try:
                await self._crew.link.ask(member.worker, do, within_s=within_s, **given)
            except (WorkerGone, SchedulerGone):
                return

        task = asyncio.create_task(ask())
        self._messages.add(task)
        task.add_done_callback(self._messages.discard)
        return task

    async def _post(self, member: Member) -> None:
        """Pass commands on one after the other: two on the way at once could overtake each other."""
        await member.present.wait()
        while True:
            command = msgspec.json.encode(await member.commands.get())
            await self._send(member, "tell", RENEW_WITHIN_S, key=member.key, command=command)

    def _lose(self, member: Member, why: str) -> None:
        if member.lost:
            return
        member.lost = why
        member.warm.set()
        self._crew.lose(member.worker, why)
        if asyncio.current_task() is not member.task:
            member.task.cancel()

    def _heard(self, member: Member, kind: str, text: bytes) -> None:
        member.heard_at = time.monotonic()
        member.present.set()
        if kind == "ready":
            member.warm.set()
        elif kind == "tick" and not member.lost:
            self._tick(member, msgspec.json.decode(text, type=Tick))

    def _tick(self, member: Member, tick: Tick) -> None:
        """Keep a tick; with those of the first worker that still runs, all since the last are told as one."""
        member.latest = tick
        self._since.append(tick)
        if self._on_tick is None or member is not next((one for one in self._members if not one.task.done()), None):
            return
        since, self._since = self._since, []
        self._on_tick(combine_ticks([tick, *self._others(member, tick)], since))

    def _others(self, member: Member, tick: Tick) -> list[Tick]:
        """The latest ticks of the others in the same phase; of a lost one what it had answered counts, nothing more."""
        others = [one for one in self._members if one is not member]
        return [
            msgspec.structs.replace(one.latest, throughput_rps=0.0, in_flight=0) if one.lost else one.latest
            for one in others
            if one.latest is not None and _stretch(one.latest) == _stretch(tick)
        ]

    async def _end_unfinished(self) -> None:
        """End every load that still runs, at once and on all workers; a lost one is told as well, if it can hear."""
        unfinished = [member for member in self._members if member.result is None]
        for member in self._members:
            member.task.cancel()
            self._crew.listen(member.key, None)
        ending = [self._send(member, "end", ENDED_WITHIN_S, key=member.key) for member in unfinished]
        if ending and self._crew.link.is_up:
            await asyncio.wait(ending, timeout=ENDED_WITHIN_S)
        rest = [*self._messages, *(member.task for member in self._members)]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _result(self) -> LoadResult:
        """The shares as one result, exactly; what was lost is named."""
        lost = [member for member in self._members if member.lost]
        results = [member.result for member in self._members if member.result is not None]
        if lost and not self._crew.workers:
            raise RunIncomplete(f"All Dask workers are lost ({'; '.join(self._crew.losses)}).")
        result = combine_results(results) if results else _nothing()
        if lost:
            kind = ErrorKind(count=sum(member.known for member in lost), example=_loss(lost[0]))
            flags = (*result.flags, *({WORKER_LOST} - set(result.flags)))
            result = msgspec.structs.replace(result, errors={**result.errors, Fault.WORKER_LOST: kind}, flags=flags)
        return msgspec.structs.replace(result, origin=self._origin(len(lost)))

    def _origin(self, lost: int) -> Origin:
        workers = [member.worker for member in self._members]
        begun = [member for member in self._members if member.agreed]
        skew = skew_ns([member.agreed for member in begun], [member.started for member in begun])
        offsets = [self._crew.offsets[worker] for worker in workers if worker in self._crew.offsets]
        return Origin(
            workers=len(workers),
            hosts=self._crew.hosts(workers),
            lost=lost,
            start_skew_ms=None if skew is None else skew / 1e6,
            clock_offset_ms=max((offset.wall for offset in offsets), key=abs, default=0) / 1e6,
            offset_error_ms=max((offset.error for offset in offsets), default=0) / 1e6,
        )


def _stretch(tick: Tick) -> str:
    return "window" if tick.phase == "drain" else tick.phase


def _loss(member: Member) -> str:
    after = (
        f"{member.latest.elapsed_s:.1f} s into its {member.latest.phase}" if member.latest else "before its first tick"
    )
    return f"{member.worker} was lost {after}: {member.lost}; {member.known} of its requests were known until then"


def _nothing() -> LoadResult:
    empty = Counts()
    return LoadResult(
        requests=0, errors={}, duration_s=0.0, throughput_rps=0.0, request=empty, service=empty, connect=empty
    )
