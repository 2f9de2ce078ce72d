"""One request to both servers by hand: what each answers, how long it took, and whether they predict the same.

A single request over a fresh connection is no measurement; the times only tell milliseconds from seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from serving_ctl.api.rest import ModelClient
from serving_ctl.bench.parity import DifferenceError, compare_values
from serving_ctl.errors import TfServeError


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What one server said to a body: its ``answer``, or ``problem`` in words; ``ms`` from send to parsed answer."""

    server: str
    answer: dict[str, Any] | None = None
    problem: str = ""
    ms: float = 0.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """All replies; ``difference`` as in R22, the largest against the first (None unless all that answered did so
    alike, and two did); ``differs`` says where which two part."""

    replies: tuple[Reply, ...]
    difference: float | None = None
    differs: str = ""


async def try_body(clients: Mapping[str, ModelClient], body: bytes, timeout_s: float) -> Trial:
    """Send ``body`` to every server, one after the other so that neither slows the other, and compare."""
    replies = [await _ask(server, client, body, timeout_s) for server, client in clients.items()]
    answered = [reply for reply in replies if reply.answer is not None]
    if len(answered) < 2:
        return Trial(replies=tuple(replies))
    first, *others = answered
    largest = 0.0
    for other in others:
        try:
            largest = max(largest, compare_values(first.answer, other.answer, "answer"))
        except DifferenceError as difference:
            return Trial(replies=tuple(replies), differs=f"{first.server} and {other.server}: {difference}")
    return Trial(replies=tuple(replies), difference=largest)


async def _ask(server: str, client: ModelClient, body: bytes, timeout_s: float) -> Reply:
    begun = time.perf_counter_ns()
    try:
        async with asyncio.timeout(timeout_s):
            answer = await client.predict(body, timeout_s=timeout_s)
    except TfServeError as error:
        return Reply(server=server, problem=str(error), ms=(time.perf_counter_ns() - begun) / 1e6)
    except TimeoutError:
        return Reply(server=server, problem=f"no answer within {timeout_s:g} s.", ms=timeout_s * 1000)
    return Reply(server=server, answer=answer, ms=(time.perf_counter_ns() - begun) / 1e6)
