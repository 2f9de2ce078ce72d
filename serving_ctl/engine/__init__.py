"""Engine: the one facade over servers, runs and results that the command line and the terminal UI both use."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from serving_ctl.api.metadata import ServedModel, choose_signature, parse_metadata
from serving_ctl.api.rest import ModelClient, ModelVersion, external_headers
from serving_ctl.bench.model_folder import ModelFolder
from serving_ctl.bench.plan import Plan
from serving_ctl.config import TF_SERVING, Settings
from serving_ctl.engine.options import RunOptions
from serving_ctl.engine.parts import Parts
from serving_ctl.engine.presets import Presets, PresetSummary
from serving_ctl.engine.tuning import Tuning
from serving_ctl.errors import ConfigError, TfServeError
from serving_ctl.events import Event, LogLine, ServerChanged, ServerState
from serving_ctl.results.history import History
from serving_ctl.results.keeper import Keeper
from serving_ctl.results.record import RecordingWriter, RunRecord
from serving_ctl.results.store import store_path

if TYPE_CHECKING:
    from serving_ctl.bench.steering import Steering
    from serving_ctl.bench.trial import Trial
    from serving_ctl.load.local import Load
    from serving_ctl.servers.checkup import Finding
    from serving_ctl.servers.fleet import Fleet

__all__ = [
    "HISTORY",
    "UP",
    "Engine",
    "Parts",
    "PresetSummary",
    "Presets",
    "RunOptions",
    "Tuning",
    "bucket_ms",
    "export_record",
    "parse_model",
]

UP = {ServerState.READY, ServerState.DEGRADED}
ASK_S = 3.0
"""How long a server that somebody else runs may take to say that it predicts, when it is only looked at."""
HISTORY = "history"
"""Whose LogLine says that a run could not be kept, or that the store was damaged."""

parse_model = parse_metadata


class Engine:
    """Servers and runs of one settings file. ``emit`` gets every event, in the event loop's thread.

    Rooms of their own: ``presets``, ``parts`` (workers, containers), ``tuning`` (flags, config files), ``history``.

    ``source`` is the file that the settings were read from, when the user named one.
    """

    def __init__(self, settings: Settings, emit: Callable[[Event], None], *, source: Path | None = None) -> None:
        self.settings = settings
        self._sinks: list[Callable[[Event], None]] = [emit]
        self._started_here: set[str] = set()
        self._fleet: Fleet | None = None
        self._steering: Steering | None = None
        self.presets = Presets(lambda: self.settings)
        self.parts = Parts(lambda: self._servers, self._probe)
        self.tuning = Tuning(lambda: self.settings, lambda: self._servers, self._take, source)
        self.history = History(self._tell_history)

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of all servers: tf-serving, flask, then the endpoints of the settings."""
        return self.settings.servers

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the servers that a run measures; the first is the numerator of every ratio (R17)."""
        return self.settings.targets

    def is_external(self, server: str) -> bool:
        """True when somebody else runs ``server``: it is asked, never started or stopped. Raises ConfigError."""
        return self.settings.server(server).runtime == "external"

    async def open(self) -> None:
        """Find what an earlier tfserve-tui left running; emits the state of every server."""
        await self._servers.adopt()

    async def ask_external(self) -> None:
        """Ask the servers that somebody else runs whether they predict; their states say what came of it.

        Nothing remembers them between two processes, so that without this they are ``stopped`` until they are started.
        """
        await self._ask([server for server in self.servers if self.is_external(server)])

    def model_problem(self, servers: Sequence[str] = ()) -> str | None:
        """Why the settings' folder holds no model for ``servers`` (all targets when none is named), and what to do;
        None when it does, or when somebody else runs all of them.
        """
        if all(self.is_external(server) for server in servers or self.targets):
            return None
        return ModelFolder(self.settings.model).problem()

    def current(self, server: str) -> ServerChanged:
        """The last known state of ``server``."""
        return self._servers.current(server)

    async def start(
        self, server: str, *, runtime: str | None = None, pull: bool = False, timeout_s: float | None = None
    ) -> ServerChanged:
        """Start ``server`` and wait until it predicts; cancelling leaves nothing behind. Raises ServerStartError."""
        ran_before = self.current(server).state in UP
        changed = await self._servers.start(server, runtime=runtime, pull=pull, timeout_s=timeout_s, probe=self._probe)
        if not ran_before and changed.ours:
            self._started_here.add(server)
        return changed

    async def stop(self, server: str, *, hard: bool = False) -> None:
        """Stop ``server`` if it is ours; idempotent. ``hard`` waits for no request. Raises ServerStartError."""
        await self._servers.stop(server, hard=hard)
        self._started_here.discard(server)

    async def restart(
        self, server: str, *, runtime: str | None = None, pull: bool = False, timeout_s: float | None = None
    ) -> ServerChanged:
        """Stop and start ``server``; a Swarm service that stays one is updated in place. Raises ServerStartError."""
        changed = await self._servers.restart(
            server, runtime=runtime, pull=pull, timeout_s=timeout_s, probe=self._probe
        )
        if changed.ours:
            self._started_here.add(server)
        return changed

    async def metadata(self, server: str) -> dict[str, Any]:
        """The metadata document of ``server`` as sent. Raises ServerAnswerError."""
        async with self._client(server) as client:
            return await client.metadata()

    async def model_status(self, server: str) -> tuple[ModelVersion, ...]:
        """States of the served versions, newest first. Raises ServerAnswerError."""
        async with self._client(server) as client:
            return await client.status()

    def example_body(self, model: ServedModel, signature: str) -> bytes:
        """A request body of one instance for ``signature``, in the model's own words where it brings some.

        Raises ConfigError when JSON cannot carry it.
        """
        from serving_ctl.bench.payload import build_bodies, fixed_batch

        chosen = choose_signature(model, signature)
        values = ModelFolder(self.settings.model).values(chosen)
        return build_bodies(chosen, values, batch=fixed_batch(chosen), count=1, seed=self.settings.bench.seed)[0]

    async def try_it(self, body: bytes) -> Trial:
        """What each running server answers to ``body``, how long it took, and the difference of the predictions."""
        from serving_ctl.bench.trial import try_body

        async with AsyncExitStack() as stack:
            running = [server for server in self.servers if self.current(server).state in UP]
            clients = {server: await stack.enter_async_context(self._client(server)) for server in running}
            return await try_body(clients, body, self.settings.bench.timeout_s)

    async def sample(self) -> None:
        """Emit CPU and memory of the running servers and the state of one that died; at most once a second (R11)."""
        for server in self.servers:
            if self.current(server).state not in UP:
                continue
            await self._servers.check(server)
            if sample := await self._servers.sample(server):
                self._emit(sample)

    async def log_tail(self, server: str, lines: int = 200) -> Sequence[str]:
        """The newest lines of the server's log."""
        return await self._servers.log_tail(server, lines)

    def follow_log(self, server: str) -> AsyncIterator[LogLine]:
        """Every line the server writes from now on, until it ends."""
        return self._servers.follow_log(server)

    async def examine(self) -> tuple[Finding, ...]:
        """What the doctor finds on this machine, for the largest preset."""
        return await self._servers.examine(*self.presets.largest())

    def started_here(self) -> tuple[str, ...]:
        """Servers that this process started and that still run."""
        return tuple(server for server in self.servers if server in self._started_here)

    async def run(
        self,
        preset: str,
        options: RunOptions = RunOptions(),  # noqa: B008 - frozen
        *,
        profile: str | None = None,
        recording: Path | None = None,
    ) -> None:
        """Measure a preset; starts what is not running. Cancel the task to cancel the run.

        Raises TfServeError before RunStarted when it cannot begin (ServerStartError, ConfigError, ParityError), and
        RunIncomplete when a server died. The history has every cell from the moment it finished.
        """
        options = msgspec.structs.replace(
            options, profile=profile or options.profile, recording=recording or options.recording
        )
        plan = self.presets.plan(preset, options)
        run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        wanted = self.presets.settings_for(preset)
        async with AsyncExitStack() as stack:
            writer = stack.enter_context(RecordingWriter(options.recording)) if options.recording else None
            await stack.enter_async_context(self._under(wanted, plan.targets))
            load = await stack.enter_async_context(self._load(options.cluster))
            await self._start_missing(plan.targets, options)
            now = [self.current(server) for server in plan.targets]
            await load.check([url for state in now for url in state.addresses or (state.url,)])
            keeper = Keeper(store_path, Path(tempfile.gettempdir()) / f"tfserve-tui-{run_id}.jsonl", self._tell_history)
            stack.callback(keeper.close)
            stack.enter_context(self._sink(keeper))
            if writer:
                for server in plan.targets:
                    writer.write(self.current(server))
                stack.enter_context(self._sink(writer.write))
            await self._measure(plan, run_id, options, load)

    @property
    def steering(self) -> Steering | None:
        """Pause, resume, skip and ± clients of the run under way; None while none is measured."""
        return self._steering

    async def close(self, *, stop_servers: bool) -> None:
        """Let go of everything; ``stop_servers`` stops what this process started."""
        if self._fleet is None:
            return
        if stop_servers:
            await asyncio.gather(*(self.stop(server) for server in self.started_here()))
        await self._fleet.close()

    @property
    def _servers(self) -> Fleet:
        if self._fleet is None:
            from serving_ctl.servers.fleet import Fleet

            self._fleet = Fleet(self.settings, self._emit)
        return self._fleet

    def _tell_history(self, text: str) -> None:
        self._emit(LogLine(server=HISTORY, text=text))

    def _emit(self, event: Event) -> None:
        for sink in tuple(self._sinks):
            sink(event)

    def _sink(self, sink: Callable[[Event], None]) -> ExitStack:
        self._sinks.append(sink)
        stack = ExitStack()
        stack.callback(self._sinks.remove, sink)
        return stack

    def _client(self, server: str) -> ModelClient:
        state = self.current(server)
        if not state.url:
            raise ConfigError(f"{server} is not running; start it with `tfserve-tui up {server}`.")
        headers = external_headers(self.settings, server, state.runtime)
        return ModelClient(state.url, self.settings.model_name(server), headers=headers)

    def _probe(self, model: ServedModel) -> bytes:
        return ModelFolder(self.settings.model).probe(model, self.settings.bench.seed)

    @asynccontextmanager
    async def _under(self, settings: Settings, targets: Sequence[str]) -> AsyncIterator[None]:
        """The targets with a preset's settings, afterwards with ours again. Raises ConfigError for an external one."""
        ours, started_here = self.settings, set(self._started_here)
        changed = [server for server in targets if ours.server(server) != settings.server(server)]
        if not changed:
            yield
            return
        if theirs := [server for server in changed if self.is_external(server)]:
            raise ConfigError(f"This preset changes settings of {theirs[0]}, which somebody else runs; use another.")
        ran = [server for server in changed if self.current(server).state in UP]
        await self._take(settings, changed)
        try:
            yield
        finally:
            await self._take(ours, changed)
            for server in ran:
                await self.start(server)
            self._started_here -= set(ran) - started_here

    async def _take(self, settings: Settings, changed: Sequence[str] = ()) -> None:
        """From now on ``settings``; the servers that they change are stopped, the others found again."""
        if settings == self.settings:
            return
        for server in changed:
            await self.stop(server)
        asked = [server for server in self.servers if self.is_external(server) and self.current(server).state in UP]
        await self._servers.close()
        self.settings, self._fleet = settings, None
        await self._servers.adopt()
        await self._ask(asked)  # of those no file says that they run

    async def _ask(self, servers: Sequence[str]) -> None:
        """Ask ``servers`` whether they predict."""

        async def ask(server: str) -> None:
            # What stands in the way is the server's state and its detail, which has been emitted.
            with contextlib.suppress(TfServeError):
                await self._servers.start(server, timeout_s=ASK_S, probe=self._probe)

        await asyncio.gather(*map(ask, servers))

    async def _start_missing(self, targets: Sequence[str], options: RunOptions) -> None:
        """Start the targets where needed, side by side; when one fails the others' starts are undone."""
        missing = [server for server in targets if self.current(server).state not in UP]
        try:
            async with asyncio.TaskGroup() as group:
                for server in missing:
                    runtime = options.runtime if server == TF_SERVING else None
                    group.create_task(
                        self.start(server, runtime=runtime, pull=options.pull, timeout_s=options.timeout_s)
                    )
        except BaseExceptionGroup as failures:
            raise first_cause(failures) from None

    @asynccontextmanager
    async def _load(self, cluster: str | None) -> AsyncIterator[Load]:
        """Where a run's load comes from: ``cluster``, or for None the settings' one, or here. Raises ClusterError."""
        from serving_ctl.load.local import HERE

        where = self.settings.bench.cluster if cluster is None else cluster
        if not where:
            yield HERE
            return
        from serving_ctl.cluster import open_cluster

        async with open_cluster(where) as load:
            yield load

    async def _measure(self, plan: Plan, run_id: str, options: RunOptions, load: Load) -> None:
        from serving_ctl.bench.job import Job
        from serving_ctl.bench.steering import Steering

        states = {server: self.current(server) for server in plan.targets}
        self._steering = Steering()
        try:
            used, steering = self._servers.used, self._steering
            job = Job(self.settings, states, self._emit, self._why_gone, used, steering, load, self.current)
            await job.measure(plan, run_id, despite_parity=options.despite_parity)
        finally:
            self._steering = None

    async def _why_gone(self, server: str) -> str | None:
        """Why ``server`` can no longer be measured: it ended, or nothing listens at its address; None while it can."""
        from serving_ctl.servers.ports import accepts

        state = await self._servers.check(server)
        if state.state not in UP:
            return state.detail or f"it is {state.state}."
        address = urlsplit(state.url)
        port = address.port or (443 if address.scheme == "https" else 80)
        listens = await asyncio.to_thread(accepts, port, address.hostname or "", 10.0)
        return None if listens else f"nothing answers at {state.url}."


def export_record(record: RunRecord, path: Path) -> None:
    """Write a run to ``path`` in the format of its ending. Raises ConfigError."""
    from serving_ctl.results.export import write_export

    write_export(record, path)


def bucket_ms(buckets: Sequence[int]) -> list[float]:
    """The middle of each HDR bucket of ``CellFinished.histogram``, in ms (R14)."""
    import numpy as np

    from serving_ctl.stats.latency import bucket_value

    return [float(value) / 1000 for value in bucket_value(np.asarray(buckets, dtype=np.int64))]


def first_cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show of several: ours before anything else."""
    leaves: list[BaseException] = []
    for error in failures.exceptions:
        leaves.extend(error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
    return next((error for error in leaves if isinstance(error, TfServeError)), leaves[0])
