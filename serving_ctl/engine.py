"""Engine: the one facade over servers, runs and results that the command line and the terminal UI both use."""

from __future__ import annotations

import asyncio
import datetime
import importlib.metadata
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from serving_ctl.api.metadata import ServedModel, Signature, choose_signature, parse_metadata
from serving_ctl.api.rest import ModelClient, ModelVersion
from serving_ctl.bench.plan import Plan, make_plan
from serving_ctl.bench.presets import choose_preset, load_presets
from serving_ctl.config import FLASK, TF_SERVING, Settings, data_dir
from serving_ctl.errors import ConfigError, ParityError, TfServeError
from serving_ctl.events import Event, LogLine, RunFailed, RunStarted, ServerChanged, ServerState, Target
from serving_ctl.results.record import RecordingWriter, RunRecord

if TYPE_CHECKING:
    from serving_ctl.bench.fairness import Subject
    from serving_ctl.bench.parity import Parity
    from serving_ctl.bench.runner import Endpoint
    from serving_ctl.servers.checkup import Finding
    from serving_ctl.servers.fleet import Fleet

PARITY_BODIES = 5
UP = {ServerState.READY, ServerState.DEGRADED}

parse_model = parse_metadata


class PresetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A preset as a menu shows it; times are rough guesses for a text CNN on two cores."""

    name: str
    key: str
    title: str
    expected_s: float
    cells: int
    rounds: int


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a preset is run; what is None comes from the preset."""

    profile: str | None = None
    rounds: int | None = None
    despite_parity: bool = False
    recording: Path | None = None
    """Where the run's events go; None keeps them in the data folder."""
    pull: bool = False
    runtime: str | None = None
    timeout_s: float | None = None


class Engine:
    """Servers and runs of one settings file. ``emit`` gets every event, in the event loop's thread."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None]) -> None:
        self.settings = settings
        self._sinks: list[Callable[[Event], None]] = [emit]
        self._started_here: set[str] = set()
        self._fleet: Fleet | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of both servers; the first is the numerator of every ratio (R17)."""
        return (TF_SERVING, FLASK)

    @property
    def presets(self) -> tuple[PresetSummary, ...]:
        """All presets in file order. Raises ConfigError."""
        plans = [(preset.key, make_plan(name, preset, self.settings.bench)) for name, preset in load_presets().items()]
        return tuple(
            PresetSummary(
                name=plan.preset,
                key=key,
                title=plan.title,
                expected_s=plan.expected_s,
                cells=plan.cells,
                rounds=plan.rounds,
            )
            for key, plan in plans
        )

    def plan(self, preset: str, options: RunOptions) -> Plan:
        """The plan that ``run`` would measure. Raises ConfigError."""
        return make_plan(
            preset,
            choose_preset(load_presets(), preset),
            self.settings.bench,
            profile=options.profile,
            rounds=options.rounds,
        )

    async def open(self) -> None:
        """Find what an earlier tfserve-tui left running; emits the state of both servers."""
        await self._servers.adopt()

    def model_problem(self) -> str | None:
        """Why no model can be served from the settings' folder, and what to do; None when one can."""
        base = Path(self.settings.model.path)
        if not base.is_dir():
            return f"No model at {base}: run `textcnn-export`, or set [model] path to a SavedModel's folder."
        if self._version_folder() is None:
            return f"{base} has no numeric version folder with a saved_model.pb; export one or set [model] path."
        return None

    def current(self, server: str) -> ServerChanged:
        """The last known state of ``server``."""
        return self._servers.current(server)

    async def start(
        self, server: str, *, runtime: str | None = None, pull: bool = False, timeout_s: float | None = None
    ) -> ServerChanged:
        """Start ``server`` and wait until it predicts; cancelling leaves nothing behind. Raises ServerStartError."""
        ran_before = self.current(server).state in UP
        changed = await self._servers.start(server, runtime=runtime, pull=pull, timeout_s=timeout_s, probe=self._probe)
        if not ran_before:
            self._started_here.add(server)
        return changed

    async def stop(self, server: str) -> None:
        """Stop ``server`` if it is ours; idempotent."""
        await self._servers.stop(server)
        self._started_here.discard(server)

    async def restart(self, server: str) -> ServerChanged:
        """Stop and start ``server``. Raises ServerStartError."""
        await self.stop(server)
        return await self.start(server)

    async def metadata(self, server: str) -> dict[str, Any]:
        """The metadata document of ``server`` as sent. Raises ServerAnswerError."""
        async with self._client(server) as client:
            return await client.metadata()

    async def model_status(self, server: str) -> tuple[ModelVersion, ...]:
        """States of the served versions, newest first. Raises ServerAnswerError."""
        async with self._client(server) as client:
            return await client.status()

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
        clients = max(
            size if ladder.kind == "concurrency" else ladder.clients
            for preset in load_presets().values()
            for ladder in preset.ladders
            for size in ladder.sizes
        )
        return await self._servers.examine(clients)

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
        RunIncomplete when a server died; the recording then holds the finished cells.
        """
        options = msgspec.structs.replace(
            options, profile=profile or options.profile, recording=recording or options.recording
        )
        plan = self.plan(preset, options)
        run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        path = options.recording or data_dir() / "runs" / f"{run_id}.jsonl"
        with ExitStack() as stack:
            writer = stack.enter_context(RecordingWriter(path))
            await self._start_missing(options)
            for server in self.servers:
                writer.write(self.current(server))
            stack.enter_context(self._sink(writer.write))
            await self._measure(plan, run_id, options)

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

    def _emit(self, event: Event) -> None:
        for sink in tuple(self._sinks):
            sink(event)

    def _sink(self, sink: Callable[[Event], None]) -> ExitStack:
        self._sinks.append(sink)
        stack = ExitStack()
        stack.callback(self._sinks.remove, sink)
        return stack

    def _client(self, server: str) -> ModelClient:
        url = self.current(server).url
        if not url:
            raise ConfigError(f"{server} is not running; start it with `tfserve-tui up {server}`.")
        return ModelClient(url, self.settings.model.name)

    def _version_folder(self) -> Path | None:
        """The newest version folder of the model, which is what both servers serve."""
        base = Path(self.settings.model.path)
        folders = [path.parent for path in base.glob("*/saved_model.pb") if path.parent.name.isdigit()]
        return max(folders, key=lambda path: int(path.name), default=None)

    def _examples(self, signature: Signature) -> Sequence[dict[str, Any]]:
        from serving_ctl.bench.payload import read_requests

        folder = self._version_folder()
        return read_requests(folder, signature) if folder else ()

    def _probe(self, model: ServedModel) -> bytes:
        """One real request body for the readiness probe."""
        from serving_ctl.bench.payload import build_bodies, fixed_batch

        signature = choose_signature(model, self.settings.model.signature)
        batch = fixed_batch(signature)
        return build_bodies(signature, self._examples(signature), batch=batch, count=1, seed=self.settings.bench.seed)[
            0
        ]

    async def _start_missing(self, options: RunOptions) -> None:
        """Start both servers where needed, side by side; when one fails the other's start is undone."""
        missing = [server for server in self.servers if self.current(server).state not in UP]
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
    async def _endpoints(self) -> AsyncIterator[dict[str, Endpoint]]:
        from serving_ctl.bench.runner import Endpoint

        workers = self.settings.flask.workers if self.current(FLASK).runtime == "gunicorn" else 0
        async with AsyncExitStack() as stack:
            clients = {server: await stack.enter_async_context(self._client(server)) for server in self.servers}
            yield {
                server: Endpoint(server=server, client=client, workers=workers if server == FLASK else 0)
                for server, client in clients.items()
            }

    async def _measure(self, plan: Plan, run_id: str, options: RunOptions) -> None:
        from serving_ctl.bench.payload import fitted_ladder
        from serving_ctl.bench.runner import Runner

        async with self._endpoints() as endpoints:
            model = parse_metadata(await endpoints[TF_SERVING].client.metadata())
            signature = choose_signature(model, self.settings.model.signature)
            ladders = tuple(fitted_ladder(ladder, signature) for ladder in plan.ladders)
            plan = msgspec.structs.replace(plan, ladders=ladders)
            examples = self._examples(signature)
            parity = await self._parity(endpoints, signature, examples, plan)
            started = self._run_started(plan, run_id, model, signature, parity)
            if parity.problem and not options.despite_parity:
                self._emit(started)
                reason = (
                    f"the servers do not predict the same: {parity.problem}; --despite-parity measures all the same."
                )
                self._emit(RunFailed(run_id=run_id, duration_s=0.0, reason=reason))
                raise ParityError(f"No ratio: {reason}")
            with tempfile.TemporaryDirectory(prefix="tfserve-tui-") as folder:
                bodies = await asyncio.to_thread(_write_bodies, plan, signature, examples, Path(folder))
                await Runner(plan, endpoints, bodies, self._emit, self._why_gone).run(started)

    async def _parity(
        self, endpoints: dict[str, Endpoint], signature: Signature, examples: Sequence[dict[str, Any]], plan: Plan
    ) -> Parity:
        from serving_ctl.bench.parity import check_parity
        from serving_ctl.bench.payload import build_bodies, fixed_batch

        bodies = build_bodies(
            signature, examples, batch=fixed_batch(signature), count=PARITY_BODIES, seed=plan.seed, form=plan.form
        )
        first, second = (endpoints[server].client for server in self.servers)
        return await check_parity(first, second, bodies, plan.timeout_s)

    def _run_started(
        self, plan: Plan, run_id: str, model: ServedModel, signature: Signature, parity: Parity
    ) -> RunStarted:
        from serving_ctl.bench.fairness import UNREAD, fairness_facts, model_digest

        subjects = tuple(self._subject(server) for server in self.servers)
        folder = self._version_folder()
        digest = model_digest(folder) if folder else UNREAD
        return RunStarted(
            run_id=run_id,
            started_at=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            tool_version=version(),
            preset=plan.preset,
            title=plan.title,
            profile=plan.profile,
            rounds=plan.rounds,
            ladders=plan.ladders,
            targets=tuple(subject.target for subject in subjects),
            facts=fairness_facts(subjects, self.settings, plan, parity, digest),
            model=f"{model.name} v{model.version}",
            signature=signature.name,
            seed=plan.seed,
            expected_s=plan.expected_s,
        )

    def _subject(self, server: str) -> Subject:
        from serving_ctl.bench.fairness import Subject

        state = self.current(server)
        embedded = state.runtime == "embedded"
        target = Target(
            server=server,
            name="embedded" if embedded else server,
            label=state.label if embedded else f"{server} {state.label}",
            version=state.version,
            url=state.url,
            cold_ms=state.cold_ms,
        )
        return Subject(target=target, runtime=state.runtime)

    async def _why_gone(self, server: str) -> str | None:
        state = await self._servers.check(server)
        return None if state.state in UP else state.detail or f"it is {state.state}."


def version() -> str:
    """Version of tfserve-tui."""
    return importlib.metadata.version("tfserve-tui")


def export_record(record: RunRecord, path: Path) -> None:
    """Write a run to ``path`` in the format of its ending. Raises ConfigError."""
    from serving_ctl.results.export import write_export

    write_export(record, path)


def _write_bodies(
    plan: Plan, signature: Signature, examples: Sequence[dict[str, Any]], folder: Path
) -> dict[tuple[str, int], Path]:
    """One JSON-lines file of request bodies for each batch size, keyed by (ladder, size)."""
    from serving_ctl.bench.payload import build_bodies

    files: dict[tuple[str, int], Path] = {}
    for ladder in plan.ladders:
        for size in ladder.sizes:
            batch = size if ladder.kind == "batch" else ladder.batch
            path = folder / f"{batch}.jsonl"
            if not path.exists():
                bodies = build_bodies(
                    signature, examples, batch=batch, count=plan.distinct_bodies, seed=plan.seed, form=plan.form
                )
                path.write_bytes(b"\n".join(bodies) + b"\n")
            files[ladder.name, size] = path
    return files


def first_cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show of several: ours before anything else."""
    leaves: list[BaseException] = []
    for error in failures.exceptions:
        leaves.extend(error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
    return next((error for error in leaves if isinstance(error, TfServeError)), leaves[0])
