"""Waiting until a server is ready: REST says AVAILABLE and one real predict was answered, whose time is kept (R7).

Log lines only explain the wait, or end it when they prove that waiting longer cannot help.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving_ctl.api.metadata import ServedModel, parse_metadata
from serving_ctl.api.rest import ModelClient
from serving_ctl.errors import ConfigError, ServerAnswerError, ServerStartError
from serving_ctl.servers.doctor import Diagnosis, diagnose_log, explain_end, explain_timeout
from serving_ctl.servers.ports import port_taken
from serving_ctl.servers.running import Running

POLL_S = 0.02
LOG_EVERY_S = 0.5
LAST_WORDS_S = 1.0
STATUS_TIMEOUT_S = 5.0
TAIL_LINES = 400
# 4xx answers that speak of the server or the model, not of a body we invented.
SERVER_TO_BLAME = {408, 412, 429}

Probe = Callable[[ServedModel], bytes]
"""Makes the body of a predict request for a model; raises ConfigError when it cannot."""


@dataclass(frozen=True)
class Proof:
    """What showed that a server is ready: the duration of its first predict, or why that proves nothing."""

    cold_ms: float | None
    detail: str = ""


async def wait_until_ready(
    running: Running,
    clients: Sequence[ModelClient],
    probe: Probe,
    *,
    limit_s: float,
    predict_timeout_s: float,
    say: Callable[[str], None],
) -> Proof:
    """Return when ``running`` answered a predict of each of ``clients``; ``say`` hears what is awaited.

    Raises ServerStartError when it ended, failed to load, cannot predict, or took longer than ``limit_s``.
    """
    server = running.record.server
    last = _LastAnswer()
    deadline = time.monotonic() + limit_s
    try:
        # Later than the deadline that the requests keep: httpx leaves the socket of a cancelled TLS handshake open.
        async with asyncio.timeout(limit_s + LAST_WORDS_S):
            await _until_available(running, clients, last, say, deadline)
            say("first prediction")
            return await prove(clients, probe, predict_timeout_s)
    except TimeoutError:
        text = explain_timeout(server, limit_s, await _log(running), last.text)
        raise ServerStartError(text) from None
    except ServerAnswerError as error:
        if ending := await running.ended():
            raise ServerStartError(explain_end(server, ending, await _log(running))) from None
        known = diagnose_log(await _log(running))
        raise ServerStartError(f"{server} is up but cannot predict: {known or error}") from None


async def prove(clients: Sequence[ModelClient], probe: Probe, timeout_s: float) -> Proof:
    """One real predict of each client; the first one's counts as cold.

    Raises ServerAnswerError when the server or its model is to blame for an answer.
    """
    served = parse_metadata(await clients[0].metadata())
    try:
        body = probe(served)
    except ConfigError as error:
        return Proof(None, f"ready, predict not proven: {error}")
    took_ms = []
    for client in clients:
        began = time.perf_counter_ns()
        try:
            await client.predict(body, timeout_s=timeout_s)
        except ServerAnswerError as error:
            if not _blames_body(str(error)):
                raise
            return Proof(None, f"ready, predict not proven: {error}")
        took_ms.append((time.perf_counter_ns() - began) / 1e6)
    return Proof(took_ms[0])


@dataclass
class _LastAnswer:
    text: str = "it does not answer yet"


async def _until_available(
    running: Running, clients: Sequence[ModelClient], last: _LastAnswer, say: Callable[[str], None], deadline: float
) -> None:
    """Return when each address says AVAILABLE. Raises TimeoutError when the monotonic clock shows ``deadline``."""
    server, looked_at = running.record.server, 0.0
    while (left_s := deadline - time.monotonic()) > 0:
        if ending := await running.ended():
            raise ServerStartError(explain_end(server, ending, await _log(running)))
        try:
            missing = [(client, text) for client in clients if (text := await _not_available(client, left_s))]
        except ServerAnswerError as error:
            if time.monotonic() < deadline:  # else it was our limit that cut the answer off
                last.text = str(error)
        else:
            if not missing:
                if not await running.owns_port():
                    raise port_taken(server, int(running.record.asked["port"]))
                return
            client, last.text = missing[0]
            if len(clients) > 1:
                last.text = f"{len(missing)} of {len(clients)} wait: {client.base_url}: {last.text}"
            say(last.text)
        if time.monotonic() - looked_at >= LOG_EVERY_S:
            looked_at = time.monotonic()
            known = diagnose_log(await _log(running))
            if known and known.hopeless:
                raise ServerStartError(await _hopeless(running, known))
        await asyncio.sleep(POLL_S)
    raise TimeoutError


async def _not_available(client: ModelClient, left_s: float) -> str:
    """What it says of its versions when none is AVAILABLE, else nothing. Raises ServerAnswerError."""
    versions = await client.status(timeout_s=min(left_s, STATUS_TIMEOUT_S))
    if any(version.state == "AVAILABLE" for version in versions):
        return ""
    return ", ".join(f"version {one.version} {one.state} {one.error}".strip() for one in versions) or "no version yet"


async def _hopeless(running: Running, known: Diagnosis) -> str:
    """Why ``running`` will not become ready; most such servers end just after they said so."""
    deadline = time.monotonic() + LAST_WORDS_S
    while time.monotonic() < deadline:
        if ending := await running.ended():
            return explain_end(running.record.server, ending, await _log(running))
        await asyncio.sleep(POLL_S)
    return f"{running.record.server} cannot become ready: {known}"


async def _log(running: Running) -> str:
    return "\n".join(await running.log_tail(TAIL_LINES))


def _blames_body(error: str) -> bool:
    status = re.search(r": status (4\d\d)[:,]", error)
    return bool(status) and int(status[1]) not in SERVER_TO_BLAME if status else False
