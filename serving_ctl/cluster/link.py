"""All that talks Dask: one client of one scheduler, messages to single workers, and events that workers send back.

Every wait has a limit. A worker that does not answer is ``WorkerGone``, a scheduler that does not is ``SchedulerGone``.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from serving_ctl.errors import ClusterError, MissingExtra

CONNECTED_WITHIN_S = 10.0
ANSWERED_WITHIN_S = 10.0
CLOSED_WITHIN_S = 2.0
_LOGGERS = ("distributed", "distributed.client", "distributed.core", "tornado", "tornado.application")


class WorkerGone(Exception):
    """A worker did not do what it was asked; the text says why."""


class SchedulerGone(Exception):
    """The scheduler, and with it every worker, is out of reach."""


def import_dask() -> Any:
    """The module ``distributed``, quiet: what goes wrong is said by us, once. Raises MissingExtra."""
    try:
        import distributed
        import distributed.deploy
    except ImportError:
        raise MissingExtra("--cluster", "cluster") from None
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


class Link:
    """A client of the scheduler. ``topic`` names this run in everything that is sent."""

    def __init__(self, client: Any, address: str, topic: str) -> None:
        self._client, self.address, self._topic = client, address, topic
        self._was_lost = False

    @classmethod
    async def open(cls, place: Any, address: str, topic: str) -> Link:
        """Connect to ``place``, an address or a cluster object, called ``address``. Raises ClusterError."""
        dask = import_dask()
        client = None
        try:
            client = dask.Client(
                place, asynchronous=True, set_as_default=False, timeout=CONNECTED_WITHIN_S, name="tfserve-tui"
            )
            with warnings.catch_warnings():
                # Versions are compared by us, and said as an error.
                warnings.simplefilter("ignore")
                async with asyncio.timeout(CONNECTED_WITHIN_S + 1):
                    await client
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            if client is not None:
                await cls(client, address, topic).close()
            raise ClusterError(_unreachable(address, error)) from None
        return cls(client, address, topic)

    async def close(self) -> None:
        """Let go of the scheduler."""
        try:
            async with asyncio.timeout(CLOSED_WITHIN_S):
                # Not the public ``close``: that one waits for a scheduler that is gone to come back.
                await self._client._close(fast=True)
        except (OSError, TimeoutError):
            # It is gone, or will notice that we are.
            return

    async def workers(self) -> tuple[str, ...]:
        """Addresses of the scheduler's workers, in a fixed order. Raises SchedulerGone."""
        found = await self._scheduler_says(self._client.scheduler.identity(n_workers=-1), ANSWERED_WITHIN_S)
        return tuple(sorted(found["workers"]))

    async def call(self, worker: str, function: Callable[..., Any], *given: Any) -> Any:
        """Run a function on a worker, whatever runs there otherwise. Raises WorkerGone with its error's text."""
        work = self._client.run(function, *given, workers=[worker], on_error="return")
        answer = (await self._scheduler_says(work, ANSWERED_WITHIN_S))[worker]
        if isinstance(answer, BaseException):
            raise WorkerGone(f"{type(answer).__name__}: {answer}")
        return answer

    async def install(self, worker: str) -> None:
        """Put our agent on a worker. Raises WorkerGone."""
        from serving_ctl.cluster import plugin

        await self.call(worker, plugin.install, self._topic)

    async def remove(self, worker: str) -> None:
        """Take it away. Raises WorkerGone."""
        from serving_ctl.cluster import plugin

        await self.call(worker, plugin.remove, self._topic)

    async def ask(self, worker: str, do: str, *, within_s: float | None = ANSWERED_WITHIN_S, **given: Any) -> Any:
        """What the agent of ``worker`` answers; ``within_s`` None waits for as long as both ends live.

        Raises WorkerGone and SchedulerGone.
        """
        message = {"op": self._topic, "do": do, **given}
        work = self._client.scheduler.broadcast(msg=message, workers=[worker], on_error="return_pickle")
        answer = (await self._scheduler_says(work, within_s)).get(worker)
        if isinstance(answer, bytes):
            raise WorkerGone("its connection broke")
        if isinstance(answer, dict) and "exception" in answer:
            raise WorkerGone(f"it failed: {answer.get('exception_text', 'no reason given')}")
        return answer

    def listen(self, heard: Callable[[str, str, bytes], None]) -> None:
        """Call ``heard`` with key, kind and text of every event that an agent of ours sends."""
        self._client.subscribe_topic(self._topic, lambda event: heard(*event[1]))

    @property
    def is_up(self) -> bool:
        """False when the scheduler's connection is, or was, lost."""
        return not self._was_lost and bool(self._client.status == "running")

    async def _scheduler_says(self, work: Any, within_s: float | None) -> Any:
        try:
            async with asyncio.timeout(within_s):
                return await work
        except TimeoutError:
            if self.is_up:
                raise WorkerGone(f"no answer within {within_s:g} s") from None
            raise self._lost() from None
        except OSError:
            raise self._lost() from None

    def _lost(self) -> SchedulerGone:
        self._was_lost = True
        return SchedulerGone(self.address)


def _unreachable(address: str, error: BaseException) -> str:
    reason = str(error).partition("\n")[0]
    if address.startswith("tls:"):
        return (
            f"No Dask scheduler could be reached at {address} ({reason}); TLS needs Dask's settings "
            "distributed.comm.tls (ca-file, client.cert, client.key), see docs/cluster.md."
        )
    return f"No Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`."


async def each(workers: Sequence[str], ask: Callable[[str], Any]) -> dict[str, Any]:
    """What ``ask`` brings for every worker, all at once; a WorkerGone is a value."""

    async def one(worker: str) -> Any:
        try:
            return await ask(worker)
        except WorkerGone as gone:
            return gone

    return dict(zip(workers, await asyncio.gather(*map(one, workers)), strict=True))
