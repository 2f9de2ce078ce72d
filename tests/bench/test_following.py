"""A server whose addresses change between the plan of a cell and its load: the load goes where it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from predicting import PredictingServer

from serving_ctl.api.rest import ModelClient
from serving_ctl.bench.endpoint import Endpoint
from serving_ctl.bench.plan import make_plan
from serving_ctl.bench.presets import LadderTable, Preset
from serving_ctl.bench.runner import Runner
from serving_ctl.bench.steering import Steering
from serving_ctl.config import BenchSettings
from serving_ctl.events import CellFinished, Event, RunStarted
from serving_ctl.load.calibrate import Calibration
from serving_ctl.load.local import LocalLoad
from serving_ctl.load.work import LoadSpec


class Moving(LocalLoad):
    """A server that has gone elsewhere by the time its load is calibrated. Nobody can see what it uses."""

    def __init__(self, old: PredictingServer, new: PredictingServer) -> None:
        super().__init__()
        self._new, self._old, self.bases = new, old, (old.url,)

    async def calibrate(self, spec: LoadSpec) -> Calibration:
        self.bases = (self._new.url,)
        await asyncio.to_thread(self._old.close)
        return Calibration(ceiling_rps=1.0, floor_ms=0.001, cpu_us=1.0, memory_mb=1.0)


@pytest.fixture
def moving() -> Iterator[Moving]:
    old, new = PredictingServer(), PredictingServer()
    yield Moving(old, new)
    new.close()


def test_addresses_that_change_before_the_load_begins(moving: Moving, tmp_path: Path) -> None:
    ladders = (LadderTable(kind="batch", sizes=(1,)),)
    preset = Preset(title="", ladders=ladders, rounds=2, min_seconds=0.05, min_requests=5, warmup_seconds=0.0)
    plan = make_plan("p", preset, BenchSettings(), targets=("a",))
    started = RunStarted(
        run_id="r", started_at="", tool_version="", preset="p", title="", profile="quick", rounds=2,
        ladders=plan.ladders, targets=(), facts=(), model="", signature="", seed=0, expected_s=1.0,
    )  # fmt: skip
    body = tmp_path / "body.jsonl"
    body.write_text(json.dumps({"instances": [1.0]}), encoding="utf-8")
    events: list[Event] = []

    async def nothing(server: str) -> None:
        """It is not seen to end, nor what it uses."""

    async def measure() -> None:
        async with ModelClient(moving.bases[0], "m") as client:
            endpoint = Endpoint(server="a", client=client, places=lambda: moving.bases)
            bodies = {(plan.ladders[0].name, 1): body}
            runner = Runner(plan, {"a": endpoint}, bodies, events.append, nothing, nothing, Steering(), moving)
            await runner.run(started)

    asyncio.run(measure())
    first, second = (event for event in events if isinstance(event, CellFinished))
    assert (bool(first.requests), first.failures) == (True, ())
    assert "ADDRESSES-CHANGED" in first.flags
    assert "ADDRESSES-CHANGED" not in second.flags
