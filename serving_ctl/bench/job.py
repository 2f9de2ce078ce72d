"""One run against running servers: what they serve, parity, request bodies, fairness card, then the runner."""

from __future__ import annotations

import asyncio
import datetime
import importlib.metadata
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from serving_ctl.api.metadata import ServedModel, Signature, choose_signature, parse_metadata
from serving_ctl.api.rest import ModelClient, external_headers
from serving_ctl.bench.endpoint import Endpoint
from serving_ctl.bench.fairness import UNREAD, Subject, fairness_facts, model_digest
from serving_ctl.bench.fingerprint import fingerprint
from serving_ctl.bench.model_folder import ModelFolder
from serving_ctl.bench.parity import Parity, check_parity
from serving_ctl.bench.payload import Values, build_bodies, fitted_ladder, fixed_batch
from serving_ctl.bench.plan import Plan
from serving_ctl.bench.runner import Runner
from serving_ctl.bench.steering import Steering
from serving_ctl.bench.usage import Used
from serving_ctl.config import FLASK, Settings
from serving_ctl.errors import ParityError
from serving_ctl.events import Event, RunFailed, RunStarted, ServerChanged, Target
from serving_ctl.load.local import HERE, Load

PARITY_BODIES = 5


class Job:
    """Measures plans on the servers of ``states``, the numerator of every ratio first (R17).

    ``alive`` says in one sentence why a server is gone, or None while it runs; ``used`` what it has used so far.
    ``current`` is where a server is now: a Swarm service's addresses change when its tasks are replaced.
    """

    def __init__(
        self,
        settings: Settings,
        states: Mapping[str, ServerChanged],
        emit: Callable[[Event], None],
        alive: Callable[[str], Awaitable[str | None]],
        used: Callable[[str], Awaitable[Used | None]],
        steering: Steering,
        load: Load = HERE,
        current: Callable[[str], ServerChanged] | None = None,
    ) -> None:
        self._settings, self._states, self._emit, self._alive = settings, states, emit, alive
        self._used, self._steering, self._load = used, steering, load
        self._current = current or states.__getitem__
        self._folder = ModelFolder(settings.model)

    async def measure(self, plan: Plan, run_id: str, *, despite_parity: bool) -> None:
        """Measure ``plan``; raises as ``Engine.run`` does."""
        async with self._endpoints() as endpoints:
            first = next(iter(endpoints.values()))
            model = parse_metadata(await first.client.metadata())
            signature = choose_signature(model, self._settings.model.signature)
            plan = msgspec.structs.replace(plan, ladders=tuple(fitted_ladder(one, signature) for one in plan.ladders))
            values = await asyncio.to_thread(self._folder.values, signature)
            parity = await self._parity(endpoints, signature, values, plan)
            # In a thread: it reads the whole model for its digest.
            started = await asyncio.to_thread(self._run_started, plan, run_id, model, signature, parity)
            if parity.problem and not despite_parity:
                raise self._refuse(started, parity)
            with tempfile.TemporaryDirectory(prefix="tfserve-tui-") as folder:
                bodies = await asyncio.to_thread(_write_bodies, plan, signature, values, Path(folder))
                runner = Runner(
                    plan, endpoints, bodies, self._emit, self._alive, self._used, self._steering, self._load
                )
                await runner.run(started)

    @asynccontextmanager
    async def _endpoints(self) -> AsyncIterator[dict[str, Endpoint]]:
        workers = self._settings.flask.workers
        async with AsyncExitStack() as stack:
            yield {
                server: Endpoint(
                    server=server,
                    client=await stack.enter_async_context(self._client(state)),
                    places=partial(self._places, server) if state.addresses or state.runtime == "swarm" else None,
                    workers=workers if server == FLASK and state.runtime == "gunicorn" else 0,
                )
                for server, state in self._states.items()
            }

    def _places(self, server: str) -> tuple[str, ...]:
        """Its base URLs of now, or those of the start when it has none."""
        state = self._current(server)
        if not state.url:
            state = self._states[server]
        return state.addresses or (state.url,)

    def _client(self, state: ServerChanged) -> ModelClient:
        headers = external_headers(self._settings, state.server, state.runtime)
        return ModelClient(state.url, self._settings.model_name(state.server), headers=headers)

    async def _parity(
        self, endpoints: Mapping[str, Endpoint], signature: Signature, values: Values, plan: Plan
    ) -> Parity:
        batch = fixed_batch(signature)
        bodies = build_bodies(signature, values, batch=batch, count=PARITY_BODIES, seed=plan.seed, form=plan.form)
        async with AsyncExitStack() as stack:
            clients: dict[str, ModelClient] = {}
            for server, endpoint in endpoints.items():
                each = await stack.enter_async_context(endpoint.clients())
                clients |= {server if len(each) == 1 else f"{server} at {one.base_url}": one for one in each}
            return await check_parity(clients, bodies, plan.timeout_s)

    def _refuse(self, started: RunStarted, parity: Parity) -> ParityError:
        """The error of a run that stops before its first cell, which its recording says too."""
        self._emit(started)
        reason = f"the servers do not predict the same: {parity.problem}; --despite-parity measures all the same."
        self._emit(RunFailed(run_id=started.run_id, duration_s=0.0, reason=reason))
        return ParityError(f"No ratio: {reason}")

    def _run_started(
        self, plan: Plan, run_id: str, model: ServedModel, signature: Signature, parity: Parity
    ) -> RunStarted:
        subjects = tuple(_subject(state) for state in self._states.values())
        newest = self._folder.newest()
        digest = model_digest(newest) if newest else UNREAD
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
            facts=fairness_facts(subjects, self._settings, plan, parity, digest, self._load.facts),
            model=f"{model.name} v{model.version}",
            signature=signature.name,
            seed=plan.seed,
            expected_s=plan.expected_s,
            fingerprint={**fingerprint(subjects, self._settings, plan, digest), **self._load.fingerprint},
        )


def version() -> str:
    """Version of tfserve-tui."""
    return importlib.metadata.version("tfserve-tui")


def _subject(state: ServerChanged) -> Subject:
    embedded = state.runtime == "embedded"
    target = Target(
        server=state.server,
        name="embedded" if embedded else state.server,
        label=state.label if embedded else f"{state.server} {state.label}",
        version=state.version,
        url=state.url,
        cold_ms=state.cold_ms,
    )
    return Subject(target=target, runtime=state.runtime, addresses=state.addresses)


def _write_bodies(plan: Plan, signature: Signature, values: Values, folder: Path) -> dict[tuple[str, int], Path]:
    """One JSON-lines file of request bodies for each batch size, keyed by (ladder, size)."""
    files: dict[tuple[str, int], Path] = {}
    for ladder in plan.ladders:
        for size in ladder.sizes:
            batch = size if ladder.kind == "batch" else ladder.batch
            path = folder / f"{batch}-{ladder.form}.jsonl"
            if not path.exists():
                bodies = build_bodies(
                    signature, values, batch=batch, count=plan.distinct_bodies, seed=plan.seed, form=ladder.form
                )
                path.write_bytes(b"\n".join(bodies) + b"\n")
            files[ladder.name, size] = path
    return files
