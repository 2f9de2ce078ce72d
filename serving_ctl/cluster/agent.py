"""What runs on a Dask worker: keeps request bodies, reads its clocks, and carries out its share of a load.

Asked through one handler of the worker (``plugin``, ``link``); it knows nothing of Dask.
A load ends when nobody has asked for anything for ``LEASE_S``: whoever began it is gone then, or out of reach.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from serving_ctl.errors import LoadError
from serving_ctl.load.calibrate import calibrate
from serving_ctl.load.pool import Control, run_load
from serving_ctl.load.wire import parse_url, resolve
from serving_ctl.load.work import Command, LoadSpec, Tick

LEASE_S = 4.0
ALIVE_S = 0.5
"""How often a load says that it is alive, ticks or not."""
REACHED_WITHIN_S = 5.0
_LAST_S = 0.002
"""How long before an instant the event loop's timer is no longer trusted."""

Tell = Callable[[Any], None]


def about() -> dict[str, str]:
    """The versions that have to be the same everywhere."""
    packages = ("tfserve-tui", "msgspec", "distributed")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {**versions, "Python": platform.python_version().rpartition(".")[0]}


class Agent:
    """Carries out what one tfserve-tui asks of one Dask worker. Problems are answered as texts, never raised."""

    def __init__(self, base: Path, tell: Tell) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="tfserve-tui-", dir=base))
        self._tell = tell
        self._shares: dict[str, _Share] = {}
        self._ended: set[str] = set()
        self._heard = time.monotonic()

    async def answer(self, do: str, **given: Any) -> Any:
        """Do what is asked; the answer is what the method of that name returns."""
        self._heard = time.monotonic()
        verbs = {
            verb.__name__: verb
            for verb in (self.clocks, self.reach, self.keep, self.load, self.calibrate, self.start, self.tell, self.end)
        }
        return await verbs[do](**given) if do in verbs else None

    async def clocks(self) -> list[int]:
        """Monotonic and wall clock in ns."""
        return [time.monotonic_ns(), time.time_ns()]

    async def reach(self, url: str) -> str:
        """Why a connection to ``url`` cannot be made from here; empty when it can."""
        try:
            target = parse_url(url)
            address = await asyncio.to_thread(resolve, target)
            async with asyncio.timeout(REACHED_WITHIN_S):
                _, writer = await asyncio.open_connection(address, target.port)
        except TimeoutError:
            return f"no connection within {REACHED_WITHIN_S:g} s"
        except LoadError as error:
            return str(error)
        except OSError as error:
            return os.strerror(error.errno).lower() if error.errno else str(error)
        writer.close()
        return ""

    async def keep(self, digest: str, data: bytes) -> str:
        """Keep the request bodies with that SHA-256 for the loads to come; says what is wrong with them, if it is."""
        if hashlib.sha256(data).hexdigest() != digest:
            return "request bodies arrived damaged"
        try:
            await asyncio.to_thread((self._folder / digest).write_bytes, data)
        except OSError as error:
            return f"request bodies cannot be kept: {error.strerror}"
        return ""

    async def load(self, key: str, spec: bytes) -> dict[str, Any]:
        """Carry out one share of a load, from the warm-up to its result."""
        if key in self._ended:  # the message that ends it was faster
            return {"problem": "it was ended before it began"}
        share = _Share(key, self._here(spec), self._tell)
        self._shares[key] = share
        lease = asyncio.create_task(self._watch(share))
        try:
            return await share.run()
        finally:
            lease.cancel()
            del self._shares[key]
            share.ended.set()

    async def calibrate(self, spec: bytes) -> dict[str, Any]:
        """What the client of this worker can do by itself (R12)."""
        try:
            found = await calibrate(self._here(spec))
        except LoadError as error:
            return {"problem": str(error)}
        return {"calibration": msgspec.json.encode(found)}

    async def start(self, key: str, at: int) -> bool:
        """Begin the window of ``key`` when the monotonic clock shows ``at``; False when that is past."""
        if share := self._shares.get(key):
            share.start(at)
        return time.monotonic_ns() < at

    async def tell(self, key: str, command: bytes) -> None:
        """Pause, resume, skip, another number of clients, or other addresses."""
        if share := self._shares.get(key):
            share.obey(msgspec.json.decode(command, type=Command))

    async def end(self, key: str) -> None:
        """End the load ``key`` at once, if it still runs, or when it comes."""
        self._ended.add(key)
        if share := self._shares.get(key):
            share.end()

    async def close(self) -> None:
        """End all loads, wait until they are, and remove the request bodies."""
        shares = tuple(self._shares.values())
        for share in shares:
            share.end()
        await asyncio.gather(*(share.ended.wait() for share in shares))
        shutil.rmtree(self._folder, ignore_errors=True)

    def _here(self, spec: bytes) -> LoadSpec:
        """The spec with the path under which its bodies are kept here."""
        decoded = msgspec.json.decode(spec, type=LoadSpec)
        digest = decoded.bodies_file
        return msgspec.structs.replace(decoded, bodies_file=str(self._folder / digest)) if digest else decoded

    async def _watch(self, share: _Share) -> None:
        """Say that the load is alive, and end it when nobody asks any more."""
        while time.monotonic() - self._heard < LEASE_S:
            share.say_alive()
            await asyncio.sleep(ALIVE_S)
        share.end()


class _Share:
    """One share of a load on this worker."""

    def __init__(self, key: str, spec: LoadSpec, tell: Tell) -> None:
        self._key, self._spec, self._say = key, spec, tell
        self.ended = asyncio.Event()
        self._control = Control()
        self._go: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = None
        self._started: int | None = None
        self._first_phase = ""
        self._was_ready = False

    async def run(self) -> dict[str, Any]:
        """The result and the monotonic time of its first counted phase; or in words a problem, or why it was ended."""
        work = run_load(self._spec, on_tick=self._tick, on_warm=self._wait_for_start, control=self._control)
        self._task = asyncio.create_task(work)
        try:
            await asyncio.wait({self._task})
        finally:
            self._task.cancel()
        if self._task.cancelled():
            return {"lost": f"it heard nothing from us for {LEASE_S:g} s"}
        error = self._task.exception()
        if error is None:
            return {"result": msgspec.json.encode(self._task.result()), "started": self._started}
        if isinstance(error, LoadError):
            return {"problem": str(error)}
        raise error

    def start(self, at: int) -> None:
        """Agree on the instant at which the window begins."""
        if not self._go.done():
            self._go.set_result(at)

    def end(self) -> None:
        """End the load at once."""
        if self._task is not None:
            self._task.cancel()

    def obey(self, command: Command) -> None:
        """Carry out a command, in the warm-up too."""
        self._control.tell(command)

    def say_alive(self) -> None:
        """Say that this share is still worked on."""
        self._say([self._key, "alive", b""])

    def _tick(self, tick: Tick) -> None:
        """Pass a tick on. The start is where arrival minus the tick's own time is least: no tick arrives early."""
        now = time.monotonic_ns()
        if tick.phase not in {"warmup", "drain"}:
            self._first_phase = self._first_phase or tick.phase
            if tick.phase == self._first_phase:
                begun = now - int(tick.elapsed_s * 1e9)
                self._started = begun if self._started is None else min(self._started, begun)
        self._say([self._key, "tick", msgspec.json.encode(tick)])

    async def _wait_for_start(self) -> None:
        """Say that this share is warm, and wait for the agreed instant (which is long past in a retry)."""
        if not self._was_ready:
            self._was_ready = True
            self._say([self._key, "ready", b""])
        at = await self._go
        await asyncio.sleep(max((at - time.monotonic_ns()) / 1e9 - _LAST_S, 0.0))
        while time.monotonic_ns() < at:  # noqa: ASYNC110 - an instant is awaited, not an event
            await asyncio.sleep(0)
