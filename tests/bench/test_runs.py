"""Whole runs through the engine against small servers: what is emitted, steered, refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from predicting import PredictingServer

from serving_ctl import cluster
from serving_ctl.bench import search
from serving_ctl.config import (
    BenchSettings,
    EndpointSettings,
    FlaskSettings,
    ModelSettings,
    Settings,
    TfServingSettings,
)
from serving_ctl.engine import Engine, RunOptions
from serving_ctl.errors import ClusterError, ConfigError, ParityError, TfServeError
from serving_ctl.events import (
    CellFinished,
    CellStarted,
    CellTick,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    ServerChanged,
    ServerState,
)
from serving_ctl.load import local
from serving_ctl.load.calibrate import Calibration
from serving_ctl.results.record import fold_record
from serving_ctl.results.tables import headline_table

PRESETS = """
[pair]
title = "Two sizes"
ladders = [{ kind = "batch", sizes = [1, 2] }]
rounds = 2
min-seconds = 0.2
min-requests = 5
warmup-seconds = 0.05

[one]
title = "One size"
ladders = [{ kind = "batch", sizes = [1] }]
rounds = 2
min-seconds = 0.2
min-requests = 5
warmup-seconds = 0.05

[packed]
title = "Compressed"
ladders = [{ kind = "batch", sizes = [1] }]
gzip = true
rounds = 2
min-seconds = 0.1
min-requests = 5
warmup-seconds = 0.05

[limit]
title = "A search"
ladders = [{ kind = "client-limit", sizes = [1000] }]
rounds = 2
warmup-seconds = 0.05

[climb]
title = "Until it fails"
ladders = [{ kind = "batch", sizes = [1, 2, 3, 4] }]
rounds = 2
min-seconds = 0.05
min-requests = 5
warmup-seconds = 0.05
"""


@pytest.fixture
def servers() -> Iterator[tuple[PredictingServer, PredictingServer]]:
    pair = PredictingServer(), PredictingServer()
    yield pair
    for server in pair:
        server.close()


def calibrated_as(monkeypatch: pytest.MonkeyPatch, floor_ms: float) -> None:
    """Take the client's floor as known, which saves a second and a half a size."""

    async def known(spec: object, *, processes: int) -> Calibration:
        return Calibration(ceiling_rps=1.0, floor_ms=floor_ms, cpu_us=1.0, memory_mb=1.0)

    monkeypatch.setattr(local, "calibrate", known)


@pytest.fixture
def known_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated_as(monkeypatch, floor_ms=0.001)


class Run:
    """One engine on both servers; ``see`` is called with the engine and each event while it runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events: list[Event] = []
        self.failure: TfServeError | None = None

    def measure(
        self, preset: str, see: Callable[[Engine, Event], None] = lambda engine, event: None, **options: object
    ) -> Run:
        asyncio.run(self._measure(preset, see, RunOptions(**options)))
        return self

    async def _measure(self, preset: str, see: Callable[[Engine, Event], None], options: RunOptions) -> None:
        def emit(event: Event) -> None:
            self.events.append(event)
            see(engine, event)

        engine = Engine(self.settings, emit)
        try:
            await engine.open()
            await engine.run(preset, options)
        except TfServeError as error:
            self.failure = error
        finally:
            await engine.close(stop_servers=True)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def cells(self) -> list[CellFinished]:
        return self.of(CellFinished)


@pytest.fixture
def run(servers: tuple[PredictingServer, PredictingServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "STATE", "DATA"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setenv(f"TFSERVE_{name}_DIR", str(tmp_path / name.lower()))
    (tmp_path / "config" / "presets.toml").write_text(PRESETS, encoding="utf-8")
    serving, flask = (server.url for server in servers)
    return Run(
        Settings(
            model=ModelSettings(name="m"),
            tf_serving=TfServingSettings(runtime="external", url=serving),
            flask=FlaskSettings(runtime="external", url=flask),
            bench=BenchSettings(timeout_s=10.0),
        )
    )


def test_a_run_measures_every_cell_and_the_client_s_own_floor(run):
    run.measure("pair")
    assert run.failure is None
    order = [(cell.cell.round, cell.cell.size, cell.cell.server) for cell in run.cells]
    assert order[:4] == [(1, 1, "tf-serving"), (1, 1, "flask"), (1, 2, "tf-serving"), (1, 2, "flask")]
    assert [server for number, _, server in order if number == 2] == ["flask", "tf-serving"] * 2
    for cell in run.cells:
        assert cell.requests >= 5
        assert cell.request.p50_ms is not None
        assert cell.client_floor_ms is not None
        assert cell.client_floor_ms > 0
    kinds = [type(event) for event in run.events]
    assert kinds.index(RunStarted) < kinds.index(CellStarted) < kinds.index(CellTick) < kinds.index(RunFinished)
    assert {tick.phase for tick in run.of(CellTick)} >= {"warmup", "window"}


def test_a_result_near_the_client_s_floor_is_marked(run, monkeypatch):
    calibrated_as(monkeypatch, floor_ms=5000.0)
    assert all("CLIENT-BOUND" in cell.flags for cell in run.measure("one").cells)


@pytest.mark.usefixtures("known_floor")
def test_bodies_are_compressed_when_the_preset_says_so(run, servers):
    for server in servers:
        server.factor = 0.0  # this server reads no gzip, it only notes it
    run.measure("packed", despite_parity=True)
    assert run.failure is None
    assert all("gzip" in server.encodings for server in servers)


@pytest.mark.usefixtures("known_floor")
def test_every_request_carries_the_headers_of_an_external_server(run, servers, monkeypatch):
    monkeypatch.setenv("TOKEN_OF_THE_TEST", "Bearer t")
    flask = FlaskSettings(runtime="external", url=servers[1].url, headers={"Authorization": "env:TOKEN_OF_THE_TEST"})
    changed = Run(msgspec.structs.replace(run.settings, flask=flask)).measure("one")
    assert changed.failure is None
    assert [server.authorizations for server in servers] == [{""}, {"Bearer t"}]
    assert "Bearer t" not in repr(changed.events)


@pytest.mark.usefixtures("known_floor")
def test_a_skipped_cell_keeps_what_it_measured_and_the_run_goes_on(run):
    def skip_first(engine: Engine, event: Event) -> None:
        if isinstance(event, CellTick) and event.phase == "window" and event.requests and not run.cells:
            engine.steering.skip_cell()

    run.measure("one", skip_first)
    assert run.failure is None
    assert ["SKIPPED" in cell.flags for cell in run.cells] == [True] + [False] * 3
    assert run.cells[0].requests > 0


@pytest.mark.usefixtures("known_floor")
@pytest.mark.parametrize("moment", [CellStarted, CellTick])
def test_a_cell_skipped_before_its_window_says_so(run, moment):
    def skip_first(engine: Engine, event: Event) -> None:
        if isinstance(event, moment) and not run.cells:
            engine.steering.skip_cell()

    run.measure("one", skip_first)
    assert (run.cells[0].requests, run.cells[0].skipped) == (0, "by the user")
    assert all(cell.requests for cell in run.cells[1:])


@pytest.mark.usefixtures("known_floor")
def test_nothing_is_measured_while_paused(run):
    seen: list[int] = []

    def pause_once(engine: Engine, event: Event) -> None:
        if isinstance(event, CellTick) and event.phase == "window" and not seen:
            seen.append(event.requests)
            engine.steering.pause()
        elif isinstance(event, CellTick) and engine.steering.is_paused:
            seen.append(event.requests)
            if len(seen) == 6:
                engine.steering.resume()

    run.measure("one", pause_once)
    assert run.failure is None
    assert len(run.cells) == 4
    # What was in flight is answered; then the count stands still.
    assert seen[2:] == seen[2:3] * 4


@pytest.mark.usefixtures("known_floor")
def test_a_changed_number_of_clients_marks_the_cell(run):
    def add(engine: Engine, event: Event) -> None:
        first = isinstance(event, CellTick) and event.phase == "window" and not run.cells
        if first and engine.steering.clients_change == 0:
            engine.steering.change_clients(2)

    run.measure("one", add)
    assert ["CLIENTS-CHANGED" in cell.flags for cell in run.cells] == [True] + [False] * 3


@pytest.mark.usefixtures("known_floor")
def test_a_cluster_is_asked_whether_it_reaches_every_server(run, servers, monkeypatch):
    asked = []

    class Far(local.LocalLoad):
        async def check(self, urls):
            asked.extend(urls)
            raise ClusterError("out of reach")

    monkeypatch.setattr(cluster, "open_cluster", lambda text: contextlib.nullcontext(Far()))
    run.measure("one", cluster="tcp://127.0.0.1:1")
    assert str(run.failure) == "out of reach"
    assert asked == [server.url for server in servers]


@pytest.mark.usefixtures("known_floor")
def test_a_changed_number_of_clients_marks_a_search_too(run, monkeypatch):
    for name, value in {"STEP_REQUESTS": 300, "LEAST_STEP_S": 0.0, "MOST": {True: 1.0, False: 1.0}}.items():
        monkeypatch.setattr(search, name, value)

    def add(engine: Engine, event: Event) -> None:
        if isinstance(event, CellTick) and not run.cells and engine.steering.clients_change == 0:
            engine.steering.change_clients(1)

    run.measure("limit", add)
    assert run.failure is None
    assert all(cell.steps for cell in run.cells)
    assert ["CLIENTS-CHANGED" in cell.flags for cell in run.cells] == [True] + [False] * 3


@pytest.fixture
def three(run, servers) -> Iterator[tuple[Run, PredictingServer]]:
    """Two endpoints beside the third, which is flask; tf-serving is left as it comes: nothing may start it."""
    third = PredictingServer()
    endpoints = (EndpointSettings(name="eu", url=servers[0].url), EndpointSettings(name="us", url=third.url, model="m"))
    settings = msgspec.structs.replace(
        run.settings,
        model=ModelSettings(name="m", path="nowhere"),
        tf_serving=TfServingSettings(),
        endpoints=endpoints,
        bench=BenchSettings(timeout_s=10.0, targets=("us", "flask", "eu")),
    )
    yield Run(settings), third
    third.close()


@pytest.mark.usefixtures("known_floor")
def test_three_targets_are_measured_in_turns_and_nothing_else_is_started(three):
    run, _ = three
    run.measure("one")
    assert run.failure is None
    (begun,) = run.of(RunStarted)
    assert [(target.server, target.label) for target in begun.targets] == [
        ("us", "us external"), ("flask", "flask external"), ("eu", "eu external"),
    ]  # fmt: skip
    turns = [[cell.cell.server for cell in run.cells[n : n + 3]] for n in range(0, 6, 3)]
    assert turns == [["us", "flask", "eu"], ["eu", "flask", "us"]]
    table = headline_table(fold_record(run.events, "this run"), begun.ladders[0])
    (row,) = table.rows
    assert [rate.name for rate in row.rates] == ["flask", "eu"]
    assert all(rate.low < rate.ratio < rate.high for rate in row.rates)
    assert {event.state for event in run.of(ServerChanged) if event.server == "tf-serving"} == {ServerState.STOPPED}


@pytest.mark.usefixtures("known_floor")
def test_endpoints_alone_need_no_model_here_and_names_come_from_the_run(three):
    run, third = three
    assert "nowhere" in Engine(Settings(model=run.settings.model), print).model_problem()
    assert Engine(run.settings, print).model_problem() is None
    run.measure("one", targets=("eu", "us"))
    assert run.failure is None
    assert {cell.cell.server for cell in run.cells} == {"eu", "us"}
    third.factor = 3.0
    refusal = Run(run.settings).measure("one").failure
    assert isinstance(refusal, ParityError)
    assert "us and flask: prediction" in str(refusal), "the one that differs from the first is named"


@pytest.mark.parametrize(
    ("targets", "words"),
    [(("eu", "uss"), "did you mean 'us'"), (("eu",), "nothing to be compared with"), (("eu", "eu"), "twice")],
)
def test_targets_that_cannot_be_measured_are_refused_before_anything_starts(three, targets, words):
    run, _ = three
    run.measure("one", targets=targets)
    assert isinstance(run.failure, ConfigError)
    assert words in str(run.failure)
    assert {event.state for event in run.of(ServerChanged)} == {ServerState.STOPPED}


def test_a_server_of_somebody_else_is_asked_how_it_is(three, monkeypatch):
    monkeypatch.setattr("serving_ctl.engine.ASK_S", 0.5)
    run, third = three
    third.close()
    third.close = lambda: None
    states: dict[str, ServerChanged] = {}

    async def session() -> None:
        engine = Engine(run.settings, lambda event: None)
        await engine.open()
        await engine.ask_external()
        states.update({server: engine.current(server) for server in engine.servers})
        await engine.close(stop_servers=False)

    asyncio.run(session())
    assert {server: state.state.value for server, state in states.items()} == {
        "tf-serving": "stopped", "flask": "ready", "eu": "ready", "us": "failed",
    }  # fmt: skip
    assert third.url in states["us"].detail


def test_addresses_of_one_server_that_predict_differently_are_not_measured_as_one(run, servers):
    first, second = servers
    second.factor = 3.0
    shared = TfServingSettings(runtime="external", url=(first.url, second.url))
    flask = FlaskSettings(runtime="external", url=first.url)
    refused = Run(msgspec.structs.replace(run.settings, tf_serving=shared, flask=flask)).measure("one")
    assert isinstance(refused.failure, ParityError)
    assert f"tf-serving at {first.url} and tf-serving at {second.url}: prediction" in str(refused.failure)


@pytest.mark.usefixtures("known_floor")
def test_servers_that_predict_differently_are_not_compared(run, servers):
    servers[1].factor = 3.0
    run.measure("one")
    assert isinstance(run.failure, ParityError)
    assert (run.cells, len(run.of(RunStarted)), len(run.of(RunFailed))) == ([], 1, 1)
    assert Run(run.settings).measure("one", despite_parity=True).failure is None


@pytest.mark.usefixtures("known_floor")
def test_a_saturated_ladder_is_not_climbed_further(run, servers):
    servers[0].fails_from = 2
    cells = run.measure("climb").cells
    skipped = {(cell.cell.server, cell.cell.size) for cell in cells if cell.skipped == "saturated"}
    assert skipped == {("tf-serving", 4)}
    assert {cell.cell.size for cell in cells if cell.cell.server == "flask" and cell.cell.round == 2} == {1, 2, 3, 4}


@pytest.mark.usefixtures("known_floor")
def test_a_server_that_goes_away_ends_the_run_and_keeps_what_is_measured(run, servers):
    def close_after_two(engine: Engine, event: Event) -> None:
        if isinstance(event, CellFinished) and len(run.cells) == 2:
            servers[0].close()
            servers[0].close = lambda: None

    run.measure("one", close_after_two)
    assert run.failure is not None
    assert "tf-serving stopped in the middle of the run" in str(run.failure)
    assert len([cell for cell in run.cells if cell.requests]) == 3
    assert not run.of(RunFailed)[0].cancelled
