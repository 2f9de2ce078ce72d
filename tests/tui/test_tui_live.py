"""Keys and servers: the screen over an engine whose starts and runs the test controls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pilots import NARROW, WIDE, Live, drive, main_of, shown, until
from textual.pilot import Pilot

from serving_ctl.config import Settings
from serving_ctl.errors import ParityError
from serving_ctl.events import Event
from tui.app import TfServeApp
from tui.panes.model import ModelPane


async def opened(pilot: Pilot[Any]) -> None:
    """Wait for the engine."""
    app = pilot.app
    assert isinstance(app, TfServeApp)
    await until(pilot, lambda: main_of(app).situation.is_open and "batch-small" in shown(app))


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_a_newcomer_sees_the_presets_and_the_next_key(size: tuple[int, int]) -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        seen = shown(live.app)
        for words in ("STOPPED", "s starts the", "batch-large", "about 3m10s", "Enter starts", "0–4 run"):
            assert words in seen

    drive(live.app, size, story)


def test_without_a_model_the_screen_says_what_to_do() -> None:
    live = Live(problem="No model at release/text_cnn: run `textcnn-export`, or set [model] path.")

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        assert "No model yet: Enter trains the text CNN" in shown(live.app)
        await pilot.press("1")
        await until(pilot, lambda: live.app._notifications)
        assert "run preset" not in " ".join(live.engine.calls)

    drive(live.app, WIDE, story)


@pytest.mark.parametrize(
    ("pressed", "done"), [(["1"], "run batch-small"), (["enter"], "run smoke"), (["1", "escape"], ""), (["s", "c"], "")]
)
def test_a_key_pressed_before_the_engine_is_there_is_done_when_it_is(pressed: list[str], done: str) -> None:
    live = Live()
    make, may_load = live.app._main.conductor._make, threading.Event()

    def slow(settings: Settings, emit: Callable[[Event], None]) -> Any:
        may_load.wait(60)
        return make(settings, emit)

    live.app._main.conductor._make = slow

    async def story(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "Looking for running servers" in shown(live.app))
        await pilot.press(pressed[0])
        await until(pilot, lambda: "was heard" in shown(live.app))
        await pilot.press(*pressed[1:])
        await until(pilot, lambda: ("was heard" in shown(live.app)) == (len(pressed) == 1))
        may_load.set()
        await opened(pilot)
        await until(pilot, lambda: not done or done in live.engine.calls)
        assert not live.app._notifications
        assert done or not [call for call in live.engine.calls if call.split()[0] in {"run", "start"}]

    drive(live.app, WIDE, story)


def test_the_first_screen_follows_the_servers() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("s")
        await until(pilot, lambda: "on their way" in shown(live.app) and "s call off" in shown(live.app))
        live.engine.may_start.set()
        await until(pilot, lambda: "The servers are ready: press 1" in shown(live.app))
        assert "What does TensorFlow Serving" not in shown(live.app)
        main_of(live.app).query_one("#card-flask").focus()
        await until(pilot, lambda: "s stop flask" in shown(live.app))

    drive(live.app, WIDE, story)


def test_s_starts_both_with_progress_and_again_stops_both() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("STARTING") == 2)
        assert shown(live.app).count("loading the model") == 2
        live.engine.may_start.set()
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        assert "up 1m15s" in shown(live.app)
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("STOPPED") == 2)
        assert {"start tf-serving", "start flask", "stop tf-serving", "stop flask"} <= set(live.engine.calls)

    drive(live.app, WIDE, story)


def test_s_during_a_start_calls_it_off() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("STARTING") == 2)
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("STOPPED") == 2)
        assert {"cancelled tf-serving", "cancelled flask"} <= set(live.engine.calls)

    drive(live.app, WIDE, story)


def test_with_a_card_in_focus_s_means_that_server_alone() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        live.engine.may_start.set()
        main_of(live.app).query_one("#card-flask").focus()
        await pilot.press("s")
        await until(pilot, lambda: "READY" in shown(live.app))
        assert [call for call in live.engine.calls if call.startswith("start")] == ["start flask"]

    drive(live.app, WIDE, story)


def test_a_failed_start_says_why_on_the_card_and_the_other_server_runs() -> None:
    live = Live(broken=frozenset({"flask"}))

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: "FAILED" in shown(live.app) and "READY" in shown(live.app))
        assert "port 7123 is taken" in shown(live.app)
        assert any("4711" in notice.message for notice in live.app._notifications)

    drive(live.app, WIDE, story)


def test_a_number_key_runs_its_preset_to_the_end() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        live.engine.may_run.set()
        await pilot.press("1")
        await until(pilot, lambda: "✓ done" in shown(live.app))
        assert "run batch-small" in live.engine.calls
        assert "embedded faster" in shown(live.app)
        assert not main_of(live.app).situation.is_running

    drive(live.app, WIDE, story)


@pytest.mark.parametrize("key", ["c", "ctrl+c"])
def test_a_run_is_cancelled_by_key_and_what_finished_stays(key: str) -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("1")
        await until(pilot, lambda: main_of(live.app).progress.is_running)
        await pilot.press("2")
        await until(pilot, lambda: live.app._notifications)
        await pilot.press(key)
        await until(pilot, lambda: "cancelled after" in shown(live.app))
        assert "40 cells kept; e exports them" in shown(live.app)
        assert live.engine.calls.count("run batch-small") == 1
        assert "run batch-large" not in live.engine.calls

    drive(live.app, WIDE, story)


def test_the_model_pane_shows_the_tree_and_the_json() -> None:
    live = Live(broken=frozenset({"metadata"}))

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await pilot.press("m")
        await until(pilot, lambda: "version 1  AVAILABLE" in shown(live.app))
        seen = shown(live.app)
        assert "input_ids  int32 [?, 64]" in seen
        assert "label  string [?]" in seen
        assert '"model_spec"' in seen
        assert "no answer" in seen
        assert main_of(live.app).query_one(ModelPane)

    drive(live.app, (140, 40), story)


def test_the_model_pane_asks_nobody_while_a_run_is_on() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("1")
        await until(pilot, lambda: main_of(live.app).progress.is_running)
        await pilot.press("m")
        await until(pilot, lambda: shown(live.app).count("not disturbed") == 2)
        assert "version 1" not in shown(live.app)
        live.engine.may_run.set()
        await until(pilot, lambda: shown(live.app).count("version 1") == 2)

    drive(live.app, (140, 40), story)


def test_the_logs_pane_shows_what_the_servers_wrote() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("l")
        await until(pilot, lambda: "flask line 2 [not markup]" in shown(live.app))
        assert "tf-serving line 0" in shown(live.app)
        await pilot.press("b")
        await until(pilot, lambda: "batch-small" in shown(live.app))

    drive(live.app, WIDE, story)


@pytest.mark.parametrize(
    ("key", "closed", "stays"),
    [("s", "close stop_servers=True", False), ("l", "close stop_servers=False", False), ("n", "", True)],
)
def test_quit_asks_what_becomes_of_our_servers(key: str, closed: str, stays: bool) -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await pilot.press("q")
        await until(pilot, lambda: "Started here and still up" in shown(live.app))
        await pilot.press(key)
        if stays:
            await until(pilot, lambda: len(live.app.screen_stack) == 1)
            assert live.app.is_running
        else:
            await until(pilot, lambda: closed in live.engine.calls)

    drive(live.app, NARROW, story)
    assert (closed in live.engine.calls) != stays


def test_quit_without_servers_of_ours_asks_nothing() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await pilot.press("q")
        await until(pilot, lambda: "close stop_servers=False" in live.engine.calls)

    drive(live.app, WIDE, story)
    assert live.app.return_code == 0


def test_keys_can_be_clicked() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        column = shown(live.app).splitlines()[-1].index("help")
        await pilot.click("KeyLine", offset=(column, 0))
        await until(pilot, lambda: len(live.app.screen_stack) == 2)
        await pilot.press("escape")
        await pilot.click("TabLine", offset=(9, 0))
        await until(pilot, lambda: main_of(live.app).pane == "model")

    drive(live.app, WIDE, story)


def test_why_a_run_did_not_begin_stays_until_something_else_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live()
    why = "tf-serving and flask predict differently; serve the same model with both."

    async def refused(preset: str) -> None:
        raise ParityError(why)

    async def story(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        monkeypatch.setattr(live.engine, "run", refused)
        await pilot.press("1")
        await until(pilot, lambda: f"✗ {why}" in shown(live.app))
        await until(pilot, lambda: "c cancel" not in shown(live.app) and "s start" in shown(live.app))
        await pilot.press("s")
        await until(pilot, lambda: "STARTING" in shown(live.app))
        assert why not in shown(live.app)

    drive(live.app, WIDE, story)
