"""What keys do with the engine: opening, starting, stopping, running, cancelling. No widget is touched here.

Everything that takes time is a worker, so that it can be cancelled and the screen never waits for it.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.worker import Worker, WorkerCancelled, WorkerFailed

from serving_ctl.bench.progress import Progress
from serving_ctl.config import Settings
from serving_ctl.errors import ServerStartError, TfServeError
from serving_ctl.events import Event, ServerState
from tui import keys
from tui.model_export import can_export, export_model

if TYPE_CHECKING:
    from serving_ctl.bench.steering import Steering
    from serving_ctl.engine import Engine, PresetSummary

UP = {ServerState.READY, ServerState.DEGRADED}
SAMPLE_S = 1.0
CLOSE_LIMIT_S = 20.0

OpenEngine = Callable[[Settings, Callable[[Event], None]], "Engine"]
Spawn = Callable[[Coroutine[Any, Any, None], str], "Worker[None]"]


def open_engine(settings: Settings, emit: Callable[[Event], None], *, source: Path | None = None) -> Engine:
    """The real engine; ``source`` is the settings file the user named.

    Its import takes a while, so it is called in a thread after the first paint.
    """
    module = importlib.import_module("serving_ctl.engine")
    return cast("Engine", module.Engine(settings, emit, source=source))


class Conductor:
    """One engine and the work that was asked of it.

    ``spawn(coroutine, name)`` makes a worker; ``say(error)`` shows an error, ``not_started(error)`` that of a start;
    ``changed()`` is called whenever what can be done now may have changed.
    """

    def __init__(
        self,
        settings: Settings,
        emit: Callable[[Event], None],
        *,
        spawn: Spawn,
        say: Callable[[TfServeError], None],
        not_started: Callable[[ServerStartError], None],
        changed: Callable[[], None],
        make: OpenEngine = open_engine,
    ) -> None:
        self.engine: Engine | None = None
        self.presets: tuple[PresetSummary, ...] = ()
        self.problem = ""
        self.activity = ""
        """What is being prepared, from the key until the run has begun or failed."""
        self.step = ""
        """What is being done for it, where that is known."""
        self.settings = settings
        self.is_open = False
        """The engine is loaded and has found what runs."""
        self._emit, self._make = emit, make
        self._spawn, self._say, self._not_started, self._changed = spawn, say, not_started, changed
        self._run: Worker[None] | None = None
        self._moves: dict[str, Worker[None]] = {}

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of all servers."""
        return self.settings.servers

    @property
    def is_running(self) -> bool:
        """True from the key of a preset until its run has ended."""
        return self._run is not None and not self._run.is_finished

    @property
    def steering(self) -> Steering | None:
        """Pause, resume, skip and ± clients; None while nothing is measured."""
        return self.engine.steering if self.engine else None

    @property
    def is_paused(self) -> bool:
        """True while the run sends nothing because the user said so."""
        return self.steering is not None and self.steering.is_paused

    @property
    def can_export_model(self) -> bool:
        """True when what hinders a run is a model that `textcnn-export` can make."""
        return bool(self.problem) and can_export(self.settings.model)

    @property
    def moving(self) -> tuple[str, ...]:
        """Servers that are being started or stopped on request."""
        return tuple(server for server, worker in self._moves.items() if not worker.is_finished)

    async def open(self) -> None:
        """Load the engine, find what still runs, and from then on sample the servers once a second."""
        try:
            self.engine = await asyncio.to_thread(self._make, self.settings, from_any_thread(self._emit))
            self.look_again()
            await self.engine.open()
            self.is_open = True
            self._changed()
            await self.engine.ask_external()
        except TfServeError as error:
            self._say(error)
        self.is_open = self.engine is not None
        self._changed()
        await self._sample_forever()

    def look_again(self) -> None:
        """Read presets and model folder anew. Raises ConfigError."""
        if self.engine is not None:
            self.presets = self.engine.presets.summaries()
            self.problem = self.engine.model_problem() or ""

    def run(self, preset: str) -> None:
        """Run a preset; servers that do not run are started first."""
        if self.engine is not None and not self.is_running:
            self.activity = preset
            self._run = self._spawn(self._guarded(self.engine.run(preset)), f"run {preset}")
            self._changed()

    def first_step(self) -> None:
        """What the first screen offers: make the model if there is none, then run the smallest preset."""
        if self.engine is not None and not self.is_running and self.presets:
            self.activity = self.first_preset
            self._run = self._spawn(self._guarded(self._first_run(self.engine)), "first run")
            self._changed()

    @property
    def first_preset(self) -> str:
        """The preset of the first run: the one that is expected to be over first."""
        return min(self.presets, key=lambda preset: preset.expected_s).name if self.presets else ""

    def offer(self, up: Collection[str]) -> str:
        """The first step in one sentence, with the servers ``up`` as they are."""
        start = keys.say("{first_step}")
        starts = "" if set(self.servers) <= set(up) else "starts the servers that do not run and "
        last = f"{starts}runs {self.first_preset}, the shortest test"
        if not self.can_export_model:
            return f"{start} {last}."
        folder = self.settings.model.path
        return f"No model yet: {start} trains the text CNN (half a minute), exports it to {folder}, then {last}."

    def pause(self) -> None:
        """Pause the run, or go on with it."""
        if self.steering is not None:
            (self.steering.resume if self.steering.is_paused else self.steering.pause)()
            self._changed()

    def cancel(self) -> None:
        """Cancel the run, or without one whatever is being started."""
        if self._run is not None and self.is_running:
            self._run.cancel()
        else:
            self.cancel_moves()

    def cancel_moves(self) -> None:
        """Call off every start in flight."""
        for server in self.moving:
            self._moves[server].cancel()

    def toggle(self, progress: Progress, servers: Sequence[str]) -> None:
        """Start those of ``servers`` that are down, or when all are up stop them; during a start: call it off."""
        if any(server in self.moving for server in servers):
            self.cancel_moves()
            return
        down = [server for server in servers if not is_up(progress, server)]
        for server in down or servers:
            self._move(server, "start" if down else "stop")

    def restart(self, servers: Sequence[str]) -> None:
        """Stop and start ``servers``."""
        for server in servers:
            if server not in self.moving:
                self._move(server, "restart")

    def hard_stop(self, progress: Progress, servers: Sequence[str]) -> None:
        """Stop those of ``servers`` that are up without waiting for their requests."""
        for server in servers:
            if self.engine is not None and is_up(progress, server):
                self._move(server, "stop", hard=True)

    def adopted(self, progress: Progress) -> tuple[str, ...]:
        """Servers of ours that an earlier session started and that are up."""
        if self.engine is None:
            return ()
        here = self.started_here()
        return tuple(s for s in self.servers if is_up(progress, s) and progress.servers[s].ours and s not in here)

    def started_here(self) -> tuple[str, ...]:
        """Servers that would outlive us although we started them."""
        return self.engine.started_here() if self.engine else ()

    async def close(self, *, stop_servers: bool, also: Sequence[str] = ()) -> None:
        """End everything in flight, stop what was started here and ``also`` those, then let go of the engine.

        Bounded by ``CLOSE_LIMIT_S``; raises TimeoutError.
        """
        workers = [worker for worker in (self._run, *self._moves.values()) if worker and not worker.is_finished]
        for worker in workers:
            worker.cancel()
        async with asyncio.timeout(CLOSE_LIMIT_S):
            for worker in workers:
                await _ended(worker)
            if self.engine is not None:
                await asyncio.gather(*(self.engine.stop(server) for server in also))
                await self.engine.close(stop_servers=stop_servers)

    def _move(self, server: str, verb: str, **how: bool) -> None:
        if self.engine is not None:
            work = self._guarded(getattr(self.engine, verb)(server, **how))
            self._moves[server] = self._spawn(work, f"{verb} {server}")
            self._changed()

    async def _first_run(self, engine: Engine) -> None:
        if self.can_export_model:
            self._say_step("TensorFlow is being loaded for the training")
            await export_model(self.settings.model, self._say_step)
            self.look_again()
            self._say_step("")
        await engine.run(self.first_preset)

    def _say_step(self, step: str) -> None:
        self.step = step
        self._changed()

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> None:
        """``work`` with errors for people shown; any other is a fault of ours and goes up."""
        try:
            await work
        except ServerStartError as error:
            self._not_started(error)
        except TfServeError as error:
            self._say(error)
        finally:
            self.activity = self.step = ""
            self._changed()

    async def _sample_forever(self) -> None:
        """The next sample is only asked for after the last one came."""
        while self.engine is not None:
            await asyncio.sleep(SAMPLE_S)
            try:
                await self.engine.sample()
            except TfServeError as error:
                self._say(error)
                return


def from_any_thread(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """``emit`` for callers in other threads too: it is called in the thread of the running loop."""
    loop, home = asyncio.get_running_loop(), threading.get_ident()

    def send(event: Event) -> None:
        if threading.get_ident() == home:
            emit(event)
        else:
            loop.call_soon_threadsafe(emit, event)

    return send


def is_up(progress: Progress, server: str) -> bool:
    """True when ``server`` answers."""
    changed = progress.servers.get(server)
    return changed is not None and changed.state in UP


async def _ended(worker: Worker[None]) -> None:
    """Wait for a cancelled worker; how it ended was already shown."""
    try:
        await worker.wait()
    except (WorkerCancelled, WorkerFailed):
        return
