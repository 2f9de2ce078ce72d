"""An engine whose servers and runs are scripted: it has the real one's face and sends recorded events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import recordings

from serving_ctl.config import Settings
from serving_ctl.engine import PresetSummary, parse_model
from serving_ctl.errors import ServerAnswerError, ServerStartError
from serving_ctl.events import Event, RunFailed, RunFinished, RunStarted, ServerChanged, ServerState

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


class Version:
    """A version's state as the engine tells it."""

    version, state, error = "1", "AVAILABLE", ""


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
        self.presets = PRESETS
        self.states: dict[str, ServerChanged] = {}

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

    async def stop(self, server: str) -> None:
        self.calls.append(f"stop {server}")
        if server in self.here:
            self.here.remove(server)
        self.send(server, ServerState.STOPPED)

    async def restart(self, server: str) -> None:
        await self.stop(server)
        await self.start(server)

    async def metadata(self, server: str) -> dict[str, Any]:
        if server == "flask" and "metadata" in self.broken:
            raise ServerAnswerError("http://127.0.0.1:7123/v1/models/text_cnn/metadata: no answer in time.")
        parse_model(METADATA)
        return METADATA

    async def model_status(self, server: str) -> tuple[Version, ...]:
        return (Version(),)

    async def sample(self) -> None:
        self.calls.append("sample")

    async def log_tail(self, server: str, lines: int = 200) -> list[str]:
        return [f"{server} line {n} [not markup]" for n in range(3)]

    async def run(self, preset: str, *, profile: str | None = None, recording: Path | None = None) -> None:
        self.calls.append(f"run {preset}")
        began = False
        try:
            for event in self.script:
                if isinstance(event, RunFinished):
                    await self.may_run.wait()
                began = began or isinstance(event, RunStarted)
                self.emit(event)
        except asyncio.CancelledError:
            self.emit(RunFailed(run_id="x", duration_s=2.0, reason="cancelled.", cancelled=True))
            raise

    def started_here(self) -> tuple[str, ...]:
        return tuple(self.here)

    async def close(self, *, stop_servers: bool) -> None:
        self.calls.append(f"close stop_servers={stop_servers}")
