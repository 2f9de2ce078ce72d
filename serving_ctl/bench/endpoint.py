"""How a server under test is reached: its addresses, which may change while it is measured, and its counters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from serving_ctl.api.prometheus import Scrape, parse_scrape
from serving_ctl.api.rest import ModelClient, model_clients, predict_url
from serving_ctl.bench.steering import Steering
from serving_ctl.bench.usage import Used
from serving_ctl.errors import ServerAnswerError


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How one server is reached: its control client, and how many workers must be warm (0: not known)."""

    server: str
    client: ModelClient
    places: Callable[[], tuple[str, ...]] | None = None
    """Base URLs of now, where several share the load or they may change; None is the client's alone."""
    workers: int = 0

    def predict_urls(self) -> tuple[str, ...]:
        """Where load goes now."""
        bases = self.places() if self.places else (self.client.base_url,)
        return tuple(predict_url(base, self.client.model) for base in bases)

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[tuple[ModelClient, ...]]:
        """A control client for each address of now."""
        if self.places is None:
            yield (self.client,)
            return
        async with model_clients(self.places(), self.client.model, headers=self.client.headers) as clients:
            yield clients


class Follower:
    """Keeps a load at the addresses that its server has now: a Swarm service's tasks get others when they are replaced.

    Looked at when usage is sampled, at most once a second (R11). ``known`` are the URLs that the load begins with.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        steering: Steering,
        read: Callable[[], Awaitable[Used | None]],
        known: Sequence[str],
    ) -> None:
        self._endpoint, self._steering, self._read = endpoint, steering, read
        self._known = tuple(known)
        self.moved = False

    async def used(self) -> Used | None:
        """What the server has used so far; a load under way is told of changed addresses."""
        used = await self._read()
        now = self._endpoint.predict_urls()
        if now != self._known:
            self._known, self.moved = now, True
            self._steering.redirect(now)
        return used


async def scrape(endpoint: Endpoint) -> tuple[Scrape, ...] | None:
    """The counters of each of the server's addresses now; None for a server that has none."""
    async with endpoint.clients() as clients:
        texts = await asyncio.gather(*(client.metrics() for client in clients))
    try:
        return tuple(parse_scrape(text, endpoint.client.model) for text in texts if text) if all(texts) else None
    except ServerAnswerError:
        return None
