"""What a server used in one cell: CPU seconds, and the most memory a sample a second saw (R11)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

SAMPLE_S = 1.0

Used = tuple[float, float]
"""CPU seconds since the server started, memory now in MB (10⁶ bytes)."""


class UsageMeter:
    """``read`` is asked at the start, once a second, and at the end; None is a server that cannot be seen."""

    def __init__(self, read: Callable[[], Awaitable[Used | None]]) -> None:
        self._read = read
        self._first: Used | None = None
        self._most_mb = 0.0
        self._sampling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, or begin anew: right before the first counted request."""
        await self.cancel()
        self._most_mb = 0.0
        self._first = await self._sample()
        self._sampling = asyncio.create_task(self._keep_sampling())

    async def stop(self) -> Used | None:
        """(CPU seconds since ``start``, most memory in MB); None when not known. After the last answer."""
        await self.cancel()
        last = await self._sample() if self._first is not None else None
        if last is None or self._first is None or last[0] < self._first[0]:
            return None  # a process that ended in between took its CPU time with it
        return last[0] - self._first[0], self._most_mb

    async def cancel(self) -> None:
        """Sample no more."""
        if self._sampling is not None:
            self._sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sampling
            self._sampling = None

    async def _sample(self) -> Used | None:
        used = await self._read()
        if used is not None:
            self._most_mb = max(self._most_mb, used[1])
        return used

    async def _keep_sampling(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            await self._sample()
