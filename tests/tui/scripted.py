"""An engine whose servers and runs are scripted: it has the real one's face and sends recorded events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import recordings

from serving_ctl.api.metadata import ServedModel
from serving_ctl.api.rest import ModelVersion
from serving_ctl.bench.presets import choose_preset, load_presets, parse_preset
from serving_ctl.bench.trial import Reply, Trial
from serving_ctl.config import Settings, templates_dir
from serving_ctl.engine import PresetSummary, parse_model
from serving_ctl.errors import ConfigError, ServerAnswerError, ServerStartError, StoreError
from serving_ctl.events import Event, LogLine, RunFailed, RunFinished, RunStarted, ServerChanged, ServerState
from serving_ctl.results.record import RateRange, RunRecord, RunSummary, fold_record
from serving_ctl.results.tables import Table, headline_table
from serving_ctl.servers.checkup import Finding
from serving_ctl.servers.chosen_flags import check_flags, settable
from serving_ctl.servers.configs import BATCHING
from serving_ctl.servers.containers import ServingContainer
from serving_ctl.servers.flags import Flag, FlagValue, known_flags, read_value
from serving_ctl.servers.own_files import config_text as read_text
from serving_ctl.servers.own_files import save_config
from serving_ctl.servers.swarm_tasks import Task
from serving_ctl.servers.workers import Worker

PRESETS = (
    PresetSummary(name="smoke", key="0", title="Smoke: does everything work?", expected_s=8, cells=8, rounds=2),
    PresetSummary(name="batch-small", key="1", title="Batch test, 1 to 10", expected_s=190, cells=80, rounds=4),
    PresetSummary(name="batch-large", key="2", title="Batch test, 1 to 10,000", expected_s=300, cells=40, rounds=4),
    PresetSummary(name="concurrency", key="3", title="Concurrency test", expected_s=400, cells=40, rounds=4),
    PresetSummary(name="full", key="4", title="All three tests", expected_s=900, cells=160, rounds=4),
)  # fmt: skip
METADATA = {
    "model_spec": {"name": "text_cnn", "signature_name": "", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {
                        "input_ids": {
                            "dtype": "DT_INT32",
                            "tensor_shape": {"dim": [{"size": "-1"}, {"size": "64"}], "unknown_rank": False},
                            "name": "serving_default_input_ids:0",
                        }
                    },
                    "outputs": {
                        "scores": {
                            "dtype": "DT_FLOAT",
                            "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}], "unknown_rank": False},
                            "name": "StatefulPartitionedCall:0",
                        }
                    },
                    "method_name": "tensorflow/serving/predict",
                },
                "text": {
                    "inputs": {
                        "text": {
                            "dtype": "DT_STRING",
                            "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False},
                            "name": "text_text:0",
                        }
                    },
                    "outputs": {
                        "label": {
                            "dtype": "DT_STRING",
                            "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False},
                            "name": "StatefulPartitionedCall_1:0",
                        }
                    },
                    "method_name": "tensorflow/serving/predict",
                },
            }
        }
    },
}


class ScriptedSteering:
    """Writes down what was asked of the run."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls
        self.is_paused = False
        self.clients = 1

    def pause(self) -> None:
        self.is_paused = True
        self._calls.append("pause")

    def resume(self) -> None:
        self.is_paused = False
        self._calls.append("resume")

    def skip_cell(self) -> None:
        self._calls.append("skip")

    def change_clients(self, change: int) -> None:
        self.clients += change
        self._calls.append(f"clients {change:+d}")


class ScriptedHistory:
    """The kept runs of ``kept``, by name."""

    def __init__(self, kept: dict[str, list[Event]], calls: list[str]) -> None:
        self.kept, self._calls = kept, calls
        self.broken = ""

    def runs(self) -> tuple[RunSummary, ...]:
        if self.broken:
            raise StoreError(self.broken)
        records = {name: fold_record(events, name) for name, events in self.kept.items()}
        return tuple(
            RunSummary(
                run_id=name, started_at=record.started.started_at, preset=record.started.preset, title="", rounds=2,
                profile="quick", model="text_cnn v1", targets=("embedded", "flask"), cells=len(record.cells),
                planned=40, state="finished" if isinstance(record.end, RunFinished) else "failed",
                rates=(RateRange(ladder="batch-small", low=0.4, high=0.5),),
            )
            for name, record in records.items()
        )  # fmt: skip

    def run(self, reference: str) -> RunRecord:
        return fold_record(self.kept[reference], reference)

    def delete(self, reference: str) -> str:
        del self.kept[reference]
        return reference

    def comparison_tables(self, a: str, b: str) -> tuple[Table, ...]:
        self._calls.append(f"compare {a} {b}")
        return (headline_table(self.run(a), recordings.SMALL),)


class ScriptedEngine:
    """Servers that start when ``may_start`` is set, runs that go on when ``may_run`` is set."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None]) -> None:
        self.settings, self.emit = settings, emit
        self.calls: list[str] = []
        self.problem: str | None = None
        self.broken: set[str] = set()
        self.here: list[str] = []
        self.may_start, self.may_run = asyncio.Event(), asyncio.Event()
        self.script = recordings.recording(rounds=2)
        self.presets = self.parts = self.tuning = self
        self.states: dict[str, ServerChanged] = {}
        self.steering: ScriptedSteering | None = None
        kept = {"r1": recordings.recording(rounds=2), "r2": recordings.recording(rounds=2, cells=9, end="died")}
        self.history = ScriptedHistory(kept, self.calls)
        self.crew = [101, 102]
        self.replicas = 2
        self.written: dict[str, list[str]] = {}
        self.trial = Trial(
            replies=(
                Reply(server="tf-serving", answer={"predictions": [0.25]}, ms=1.5),
                Reply(server="flask", answer={"predictions": [0.250001]}, ms=4.25),
            ),
            difference=1e-6,
        )
        self.document = METADATA
        self.versions: tuple[ModelVersion, ...] = (ModelVersion(version="1", state="AVAILABLE"),)

    def send(self, server: str, state: ServerState, **more: Any) -> None:
        runtime, label, port = (
            ("embedded", "embedded (TF-Serving-compatible)", 8501)
            if server == "tf-serving"
            else ("gunicorn", "gunicorn 4 × sync", 7123)
        )
        url = f"http://127.0.0.1:{port}" if state is ServerState.READY else ""
        self.emit(ServerChanged(server=server, state=state, runtime=runtime, label=label, url=url, **more))

    async def open(self) -> None:
        for server in ("tf-serving", "flask"):
            self.emit(ServerChanged(server=server, state=ServerState.STOPPED))

    def model_problem(self) -> str | None:
        return self.problem

    async def start(self, server: str) -> None:
        self.calls.append(f"start {server}")
        self.send(server, ServerState.STARTING, detail="loading the model")
        try:
            await self.may_start.wait()
        except asyncio.CancelledError:
            self.calls.append(f"cancelled {server}")
            self.send(server, ServerState.STOPPED)
            raise
        if server in self.broken:
            why = f"{server}: port 7123 is taken by process 4711 (python); stop it or set [{server}] port."
            self.send(server, ServerState.FAILED, detail=why)
            raise ServerStartError(why)
        self.here.append(server)
        self.send(server, ServerState.READY, started_at=1000.0)

    async def stop(self, server: str, *, hard: bool = False) -> None:
        self.calls.append(f"stop {server}{' hard' if hard else ''}")
        if server in self.here:
            self.here.remove(server)
        self.send(server, ServerState.STOPPED)

    async def ask_external(self) -> None:
        """Nobody else runs any."""
        self.calls.append("ask external")

    async def restart(self, server: str) -> None:
        await self.stop(server)
        await self.start(server)

    async def metadata(self, server: str) -> dict[str, Any]:
        if server == "flask" and "metadata" in self.broken:
            raise ServerAnswerError("http://127.0.0.1:7123/v1/models/text_cnn/metadata: no answer in time.")
        parse_model(self.document)
        return self.document

    async def model_status(self, server: str) -> tuple[ModelVersion, ...]:
        return self.versions

    async def sample(self) -> None:
        self.calls.append("sample")

    async def log_tail(self, server: str, lines: int = 200) -> list[str]:
        return [f"{server} line {n} [not markup]" for n in range(3)]

    async def follow_log(self, server: str) -> AsyncIterator[LogLine]:
        for text in self.written.pop(server, []):
            yield LogLine(server=server, text=text)
        await asyncio.Event().wait()

    def summaries(self) -> tuple[PresetSummary, ...]:
        return PRESETS

    def table(self, name: str) -> dict[str, Any]:
        return msgspec.to_builtins(choose_preset(load_presets(), name))

    def change(self, name: str, table: dict[str, Any], *, save: bool) -> Path | None:
        preset = parse_preset(name, table)
        self.calls.append(f"preset {name} {'saved' if save else 'kept'} {preset.ladders[0].sizes}")
        return Path("presets.toml") if save else None

    def example_body(self, model: ServedModel, signature: str) -> bytes:
        values = ["a fine film"] if signature == "text" else [[1, 2, 3]]
        head = {"signature_name": "text"} if signature == "text" else {}
        return json.dumps({**head, "instances": values}).encode()

    async def try_it(self, body: bytes) -> Trial:
        self.calls.append(f"try {json.loads(body)['instances']}")
        return self.trial

    async def workers(self, server: str) -> tuple[Worker, ...]:
        return tuple(
            Worker(pid=pid, cpu_percent=3.0, memory_mb=500.0, requests=7 * pid, started_at=1000.0) for pid in self.crew
        )

    async def change_workers(self, server: str, change: int) -> None:
        self.crew = [*self.crew, 103] if change > 0 else self.crew[1:]

    async def replace_worker(self, server: str, pid: int) -> None:
        self.crew = [104 if one == pid else one for one in self.crew]

    async def tasks(self) -> tuple[Task, ...]:
        return tuple(
            Task(slot=slot, id=f"t{slot}", state="running", wanted=True, node="vm", url=f"http://h:{slot}", since=0.0)
            for slot in range(1, self.replicas + 1)
        )

    async def scale(self, replicas: int) -> None:
        self.replicas = replicas

    async def containers(self) -> tuple[ServingContainer, ...]:
        return (
            ServingContainer(
                name="theirs", image="tensorflow/serving:2.20.0", status="running", url="http://127.0.0.1:9501",
                ours=False, folder="",
            ),
        )  # fmt: skip

    async def stop_container(self, name: str) -> None:
        self.calls.append(f"stop container {name}")

    async def adopt_container(self, name: str) -> None:
        self.calls.append(f"adopt {name}")

    def docker_command(self) -> str:
        return "docker run -d --init tensorflow/serving:2.20.0"

    async def known_flags(self) -> dict[str, Flag]:
        return settable(known_flags())

    def flag_value(self, flag: Flag, text: str) -> FlagValue:
        return read_value(flag.name, flag.type, text)

    def check_flags(self, flags: dict[str, FlagValue], known: dict[str, Flag]) -> None:
        check_flags(msgspec.structs.replace(self.settings.tf_serving, flags=flags), known)

    async def change_flags(self, flags: dict[str, FlagValue], *, save: bool = False) -> Path | None:
        self.check_flags(flags, await self.known_flags())
        self.calls.append(f"flags {flags} {'saved' if save else 'used'}")
        return Path("tfserve.toml") if save else None

    def config_text(self, name: str) -> tuple[Path, str]:
        return Path("/etc/tfserve") / name, read_text(templates_dir() / name)

    def effective_config(self, name: str) -> tuple[Path, str]:
        if name == BATCHING:
            raise ConfigError("No start was given a batching.config: that takes batching = true.")
        return Path("/state") / name, "# effective"

    def save_config(self, name: str, text: str) -> Path:
        return save_config(name, text)

    async def examine(self) -> tuple[Finding, ...]:
        return (
            Finding(key="processor", mark="ok", text="x86_64"),
            Finding(key="docker", mark="warn", text="no Docker engine answers", fix="start it, or use embedded"),
            Finding(key="port 7123", mark="fail", text="taken by process 4711 (python)"),
        )

    async def run(self, preset: str, *, profile: str | None = None, recording: Path | None = None) -> None:
        self.calls.append(f"run {preset}")
        try:
            for event in self.script:
                if isinstance(event, RunFinished):
                    await self.may_run.wait()
                if isinstance(event, RunStarted):
                    self.steering = ScriptedSteering(self.calls)
                self.emit(event)
        except asyncio.CancelledError:
            self.emit(RunFailed(run_id="x", duration_s=2.0, reason="cancelled.", cancelled=True))
            raise
        finally:
            self.steering = None

    def started_here(self) -> tuple[str, ...]:
        return tuple(self.here)

    async def close(self, *, stop_servers: bool) -> None:
        self.calls.append(f"close stop_servers={stop_servers}")
