"""A crew as the runner sees it: carries out load specs like this machine's own load processes do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

import msgspec

from serving_ctl import formatting
from serving_ctl.cluster.crew import Crew
from serving_ctl.cluster.link import SchedulerGone, WorkerGone, each
from serving_ctl.cluster.shared import SharedLoad
from serving_ctl.errors import ClusterError, LoadError, RunIncomplete
from serving_ctl.events import Fact
from serving_ctl.load.calibrate import Calibration
from serving_ctl.load.pool import Control, split
from serving_ctl.load.work import LoadResult, LoadSpec, Tick

CALIBRATED_WITHIN_S = 60.0
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ClusterLoad:
    """Carries out load specs on ``crew``, as ``serving_ctl.load.local.Load`` says."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        workers = formatting.plural(len(crew.workers), "Dask worker")
        self._where = f"{workers} on {formatting.plural(crew.hosts(crew.workers), 'host')}"

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Where the load comes from, and that its clients share no cores with the servers when they do not."""
        offsets = self.crew.offsets.values()
        farthest = max(offsets, key=lambda offset: abs(offset.wall))
        error = max(offset.error for offset in offsets) / 1e6
        text = (
            f"{self._where}; wall clocks up to {formatting.significant(abs(farthest.wall) / 1e6)} ms off ours, "
            f"starts are agreed within ±{formatting.significant(error)} ms"
        )
        fact = Fact(key="load from", mark="info", short=f"load: {self._where}", text=text)
        if all(urlsplit(worker).hostname in LOOPBACK for worker in self.crew.workers):
            return (fact,)
        apart = "the clients run on the cluster's hosts; how busy those are is not known here"
        return fact, Fact(key="shared cores", mark="info", short="clients on other hosts", text=apart)

    @property
    def fingerprint(self) -> dict[str, str]:
        """Number of workers and hosts."""
        return {"load from": self._where}

    async def check(self, urls: Iterable[str]) -> None:
        """Raise ClusterError when a worker cannot connect to one of ``urls``."""
        try:
            for url in urls:
                await self._check_url(url)
        except SchedulerGone:
            raise ClusterError(f"The Dask scheduler at {self.crew.link.address} is gone.") from None

    async def _check_url(self, url: str) -> None:
        answers = await each(self.crew.workers, lambda worker: self.crew.link.ask(worker, "reach", url=url))
        for worker, problem in answers.items():
            if problem:
                raise ClusterError(
                    f"Dask worker {worker} cannot reach {url} ({problem}); let the server listen on an address that "
                    "the workers reach, and give that as its url."
                )

    async def run(
        self,
        spec: LoadSpec,
        *,
        on_tick: Callable[[Tick], None] | None = None,
        on_warm: Callable[[], Awaitable[None]] | None = None,
        control: Control | None = None,
    ) -> LoadResult:
        """As ``Load.run``: one share a worker, as many workers as there are clients for."""
        try:
            shares = await self._shares(spec)
            return await SharedLoad(self.crew, spec, shares, on_tick, on_warm).run(control or Control())
        except SchedulerGone:
            raise self._scheduler_is_gone() from None

    async def calibrate(self, spec: LoadSpec) -> Calibration:
        """As ``Load.calibrate``: of one worker with its share."""
        try:
            worker, share = next(iter((await self._shares(spec)).items()))
            answer = await self.crew.link.ask(
                worker, "calibrate", within_s=CALIBRATED_WITHIN_S, spec=msgspec.json.encode(share)
            )
        except WorkerGone as gone:
            raise LoadError(f"Dask worker {worker} could not calibrate: {gone}") from None
        except SchedulerGone:
            raise self._scheduler_is_gone() from None
        if problem := answer.get("problem"):
            raise LoadError(f"Dask worker {worker} could not calibrate: {problem}")
        return msgspec.json.decode(answer["calibration"], type=Calibration)

    async def _shares(self, spec: LoadSpec) -> dict[str, LoadSpec]:
        """What each worker is to do. Raises RunIncomplete when none is left."""
        if spec.bodies_file is not None and self.crew.workers:
            digest = await self.crew.ship(spec.bodies_file, self.crew.workers[: spec.clients])
            spec = msgspec.structs.replace(spec, bodies_file=digest)
        workers = self.crew.workers[: spec.clients]
        if not workers:
            raise RunIncomplete(f"All Dask workers are lost ({'; '.join(self.crew.losses)}).")
        return dict(zip(workers, split(spec, len(workers)), strict=True))

    def _scheduler_is_gone(self) -> RunIncomplete:
        return RunIncomplete(f"The Dask scheduler at {self.crew.link.address} is gone; its workers are out of reach.")
