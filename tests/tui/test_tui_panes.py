"""The panes beside Bench, the dialogs over them, and the keys that steer a run, over the scripted engine."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from pilots import WIDE, Live, drive, main_of, shown, until
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, DataTable, Input

from serving_ctl.api.rest import ModelVersion
from serving_ctl.bench.trial import Reply, Trial
from serving_ctl.config import EndpointSettings
from serving_ctl.events import ServerState
from tui.panes.logs import LogsPane
from tui.screens.export import ENDINGS
from tui.widgets.log_tail import LogTail


async def opened(pilot: Pilot[Any], live: Live) -> None:
    await until(pilot, lambda: main_of(live.app).situation.is_open and "batch-small" in shown(live.app))


def tail_of(live: Live, server: str) -> LogTail:
    """The log of one server."""
    return next(tail for tail in main_of(live.app).query(LogTail) if tail.server == server)


async def started(pilot: Pilot[Any], live: Live) -> None:
    """Both servers up."""
    await opened(pilot, live)
    live.engine.may_start.set()
    await pilot.press("s")
    await until(pilot, lambda: shown(live.app).count("READY") == 2)


async def measuring(pilot: Pilot[Any], live: Live) -> None:
    """A run under way."""
    await opened(pilot, live)
    await pilot.press("1")
    await until(pilot, lambda: main_of(live.app).situation.is_measuring)


def test_a_run_is_paused_resumed_and_steered_by_keys() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await measuring(pilot, live)
        await until(pilot, lambda: "p pause" in shown(live.app))
        await pilot.press("p")
        await until(pilot, lambda: main_of(live.app).paused)
        await pilot.press("p", "n", "plus", "equals_sign", "minus")
        await until(pilot, lambda: "clients -1" in live.engine.calls)
        steered = [call for call in live.engine.calls if call.split()[0] in {"pause", "resume", "skip", "clients"}]
        assert steered == ["pause", "resume", "skip", "clients +1", "clients +1", "clients -1"]

    drive(live.app, WIDE, story)


def test_without_a_run_the_steering_keys_say_so() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("p")
        await until(pilot, lambda: live.app._notifications)
        assert "Nothing is being measured" in next(iter(live.app._notifications)).message

    drive(live.app, WIDE, story)


def test_enter_on_the_first_screen_runs_the_shortest_preset() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        assert "Enter starts" in shown(live.app)
        await pilot.press("enter")
        await until(pilot, lambda: "run smoke" in live.engine.calls)

    drive(live.app, WIDE, story)


def test_x_stops_at_once() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        await pilot.press("x")
        await until(pilot, lambda: {"stop tf-serving hard", "stop flask hard"} <= set(live.engine.calls))

    drive(live.app, WIDE, story)


def test_a_sentence_is_answered_by_both_and_the_difference_is_said() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(live.app.focused, Input))
        await pilot.press(*"dull", "enter")
        await until(pilot, lambda: "the predictions agree" in shown(live.app))
        seen = shown(live.app)
        for words in ("1.50 ms", "4.25 ms", "0.250001", "largest difference 1e-06"):
            assert words in seen
        assert "try ['dull']" in live.engine.calls
        await pilot.press("e", "r")
        await until(pilot, lambda: "these answers are to an earlier one" in shown(live.app))
        assert "the predictions agree" not in shown(live.app)
        await pilot.press("backspace", "backspace")
        await until(pilot, lambda: "the predictions agree" in shown(live.app))
        await pilot.press("escape", "y")
        await until(pilot, lambda: live.app.clipboard)
        assert json.loads(live.app.clipboard)["body"]["instances"] == ["dull"]
        await pilot.press("v")
        await until(pilot, lambda: '{"instances": [[1, 2, 3]]}' in shown(live.app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "try [[1, 2, 3]]" in live.engine.calls)

    drive(live.app, WIDE, story)


def test_one_side_s_error_stands_beside_the_other_s_answer() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        refused = Reply(server="flask", problem="status 400: no such input [text]", ms=2.0)
        live.engine.trial = Trial(replies=(live.engine.trial.replies[0], refused))
        await pilot.press("t")
        await until(pilot, lambda: isinstance(live.app.focused, Input))
        await pilot.press("enter")
        await until(pilot, lambda: "✗ no prediction" in shown(live.app))
        assert "status 400: no such input [text]" in shown(live.app)
        assert '"predictions": [0.25]' in shown(live.app)
        assert "nothing to compare" in shown(live.app)

    drive(live.app, WIDE, story)


def test_the_panes_list_every_server() -> None:
    live = Live(endpoints=(EndpointSettings(name="eu.1", url="http://10.0.0.1:8501"),))

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        live.engine.send("eu.1", ServerState.READY, started_at=1000.0)
        for key, words in (("m", "▼ ▲ eu.1"), ("t", "─ ▲ eu.1"), ("l", "eu.1 line 2")):
            await pilot.press(key)
            await until(pilot, lambda words=words: words in shown(live.app))
            await pilot.press("escape")

    drive(live.app, WIDE, story)


def test_the_model_pane_tells_every_version_and_why_one_ended() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        live.engine.versions = (
            ModelVersion(version="3", state="LOADING"),
            ModelVersion(version="2", state="END", error="Read less bytes than requested"),
            ModelVersion(version="1", state="AVAILABLE"),
        )
        await pilot.press("m")
        await until(pilot, lambda: "✓ version 1  AVAILABLE" in shown(live.app))
        for words in ("◔ version 3  LOADING", "✗ version 2  END", "Read less bytes than", "int32 [?, 64]"):
            assert words in shown(live.app)

    drive(live.app, WIDE, story)


def test_the_model_pane_offers_snippets_to_copy() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        await pilot.press("m")
        await until(pilot, lambda: '"model_spec"' in shown(live.app))
        for words in ("curl -s", "urlopen", "The embedded server"):
            await pilot.press("v")
            await until(pilot, lambda words=words: words in shown(live.app))
            await pilot.press("y")
            await until(pilot, lambda words=words: words in live.app.clipboard)

    drive(live.app, WIDE, story)


def test_logs_are_filtered_followed_and_searched() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        live.engine.written = {"flask": ["[1] [ERROR] it broke", *(f"fine {n}" for n in range(500))]}
        await pilot.press("l")
        await until(pilot, lambda: "fine 499" in shown(live.app))
        assert "tf-serving line 2 [not markup]" in shown(live.app)
        tail = tail_of(live, "flask")
        tail.focus()
        await pilot.press("g")
        await until(pilot, lambda: "✗ [1] [ERROR] it broke" in shown(live.app) and "lines below" in shown(live.app))
        await pilot.press("f")
        await until(pilot, lambda: "fine 499" in shown(live.app))
        await pilot.press("slash", *"fine 12", "enter")
        await until(pilot, lambda: "11 lines of 504" in shown(live.app))
        assert "fine 499" not in shown(live.app)
        await pilot.press("v", "v")
        await until(pilot, lambda: "None of 504 lines passes" in shown(live.app))
        assert "Only errors, and of them lines that hold “fine 12”" in shown(live.app)
        await pilot.press("escape")
        await until(pilot, lambda: "504 lines" in shown(live.app) and "Only errors" not in shown(live.app))

    drive(live.app, WIDE, story)


@pytest.mark.parametrize(("key", "sign"), [("l", "flask line 2"), ("f", "enable_batching")])
def test_letters_right_after_a_slash_are_the_text_to_find_and_no_keys(key: str, sign: str) -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        await pilot.press(key)
        await until(pilot, lambda: sign in shown(live.app))
        for letter in "/load/s":  # as a terminal sends them at once: none waits for the one before
            live.app.post_message(events.Key("slash" if letter == "/" else letter, letter))
        await until(pilot, lambda: isinstance(live.app.focused, Input) and live.app.focused.value == "load/s")
        assert not [call for call in live.engine.calls if call.startswith(("stop", "flags", "workers"))]

    drive(live.app, WIDE, story)


def test_a_flag_is_edited_with_the_keys_of_its_field_in_sight() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("f")
        await until(pilot, lambda: "Enter edits" in shown(live.app))
        for key in ("slash", *"num_load", "enter"):
            await pilot.press(key)
        await until(pilot, lambda: "d default" in shown(live.app))
        for key in ("enter", "4"):
            live.app.post_message(events.Key(key, key))
        await until(pilot, lambda: "Enter takes the value" in shown(live.app))
        await pilot.press("enter")
        await until(pilot, lambda: "1 flag set" in shown(live.app))
        await pilot.press("a")
        await until(pilot, lambda: "flags {'num_load_threads': 4} used" in live.engine.calls)

    drive(live.app, WIDE, story)


def test_a_flood_of_log_lines_is_bounded_and_keys_still_work() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        live.engine.written = {"flask": [f"line {n} of a flood" for n in range(100_000)]}
        await pilot.press("l")
        await until(pilot, lambda: "line 99999 of a flood" in shown(live.app))
        assert tail_of(live, "flask").lines.kept == 20_000
        assert main_of(live.app).query_one(LogsPane)
        await pilot.press("b")
        await until(pilot, lambda: "batch-small" in shown(live.app))

    drive(live.app, WIDE, story)


def test_kept_runs_are_opened_compared_and_deleted() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("h")
        await until(pilot, lambda: "✓ finished" in shown(live.app) and "✗ failed" in shown(live.app))
        await pilot.press("space", "down", "k")
        await until(pilot, lambda: "compare r1 r2" in live.engine.calls and len(live.app.screen_stack) == 2)
        await until(pilot, lambda: "two runs compared" in shown(live.app))
        await pilot.press("escape")
        await until(pilot, lambda: len(live.app.screen_stack) == 1)
        await pilot.press("delete")
        await until(pilot, lambda: "be undone" in shown(live.app))
        await pilot.press("y")
        await until(pilot, lambda: list(live.engine.history.kept) == ["r1"])
        await until(pilot, lambda: main_of(live.app).query_one(DataTable).row_count == 1)
        await pilot.press("enter")
        await until(pilot, lambda: "✓ done" in shown(live.app) and "embedded faster" in shown(live.app))
        assert main_of(live.app).pane == "bench"

    drive(live.app, WIDE, story)


def test_a_history_that_cannot_be_read_says_why_and_an_empty_one_what_to_do() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        live.engine.history.broken = "runs.sqlite: file is not a database; move it away."
        await pilot.press("h")
        await until(pilot, lambda: "move it away" in shown(live.app))
        live.engine.history.broken, live.engine.history.kept = "", {}
        await pilot.press("u")
        await until(pilot, lambda: "a number key runs a preset" in shown(live.app))

    drive(live.app, WIDE, story)


def test_the_palette_lists_each_thing_once_and_only_what_is_possible() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        conductor = main_of(live.app).conductor
        conductor.presets += (msgspec.structs.replace(conductor.presets[0], name="keyless", key=""),)
        commands = list(live.app.get_system_commands(main_of(live.app)))
        names = [command.title for command in commands]
        assert len(set(names)) == len(names)
        assert all(not command.help.startswith(command.title) for command in commands)
        assert {"Run smoke", "Run keyless", "Bench pane", "Doctor"} <= set(names)
        assert not {"Pause the run", "Export the run as a file"} & set(names)

    drive(live.app, WIDE, story)


def test_workers_are_listed_added_and_replaced() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        await pilot.press("w")
        await until(pilot, lambda: "101" in shown(live.app) and "707" in shown(live.app))
        await pilot.press("plus")
        await until(pilot, lambda: "3 workers" in shown(live.app))
        await pilot.press("minus")
        await until(pilot, lambda: live.engine.crew == [102, 103])
        await pilot.press("r")
        await until(pilot, lambda: 104 in live.engine.crew and "104" in shown(live.app))

    drive(live.app, WIDE, story)


def test_tasks_are_listed_and_scaled_with_the_card_of_tf_serving_in_focus() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        live.app.screen.query_one("#card-tf-serving").focus()
        await pilot.press("w")
        await until(pilot, lambda: "h:2" in shown(live.app) and "2 tasks" in shown(live.app))
        await pilot.press("plus")
        await until(pilot, lambda: "3 tasks" in shown(live.app))
        await pilot.press("minus", "minus")
        await until(pilot, lambda: live.engine.replicas < 3)

    drive(live.app, WIDE, story)


def test_a_container_is_stopped_only_when_asked_twice_and_the_command_is_copied() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("d")
        await until(pilot, lambda: "theirs" in shown(live.app) and "docker run -d" in shown(live.app))
        await pilot.press("y")
        await until(pilot, lambda: live.app.clipboard.startswith("docker run"))
        await pilot.press("a")
        await until(pilot, lambda: "adopt theirs" in live.engine.calls)
        await pilot.press("k")
        await until(pilot, lambda: "k again stops" in shown(live.app))
        assert "stop container theirs" not in live.engine.calls
        await pilot.press("k")
        await until(pilot, lambda: "stop container theirs" in live.engine.calls)

    drive(live.app, WIDE, story)


def test_the_doctor_comes_by_itself_when_a_start_fails() -> None:
    live = Live(broken=frozenset({"flask"}))

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: "doctor: a server did not start" in shown(live.app))
        await until(pilot, lambda: "start it, or use embedded" in shown(live.app))
        assert "port 7123 is taken by process 4711" in shown(live.app)
        await pilot.press("escape")
        await until(pilot, lambda: len(live.app.screen_stack) == 1)

    drive(live.app, WIDE, story)


@pytest.mark.parametrize(("key", "call"), [("ctrl+t", "kept"), ("ctrl+s", "saved"), ("ctrl+r", "kept")])
def test_the_preset_form_changes_a_preset(key: str, call: str) -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("o")
        await until(pilot, lambda: live.app.screen.query("#field-0-sizes"))
        live.app.screen.query_one("#field-0-sizes", Input).value = "1 2 x"
        live.app.screen.query_one("#form-keep", Button).press()
        await until(pilot, lambda: "give whole numbers, not '1 2 x'" in shown(live.app))
        assert live.app.focused is live.app.screen.query_one("#field-0-sizes")
        live.app.screen.query_one("#field-0-sizes", Input).value = "1, 2, 4"
        await pilot.press(key)
        await until(pilot, lambda: f"preset smoke {call} (1, 2, 4)" in live.engine.calls)
        await until(pilot, lambda: len(live.app.screen_stack) == 1)
        assert (key == "ctrl+r") == ("run smoke" in live.engine.calls)

    drive(live.app, WIDE, story)


def test_quit_names_the_servers_of_an_earlier_session() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await started(pilot, live)
        live.engine.here.remove("flask")
        await pilot.press("q")
        await until(pilot, lambda: "session: flask" in shown(live.app))
        await pilot.press("a")
        await until(pilot, lambda: {"stop flask", "close stop_servers=True"} <= set(live.engine.calls))

    drive(live.app, WIDE, story)


def test_a_pane_takes_the_whole_screen_and_gives_it_back() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("z")
        await until(pilot, lambda: "■ flask" not in shown(live.app))
        await pilot.press("z")
        await until(pilot, lambda: "■ flask" in shown(live.app))

    drive(live.app, WIDE, story)


def test_the_ending_of_an_export_is_chosen_by_key() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live)
        await pilot.press("h")
        await until(pilot, lambda: "✓ finished" in shown(live.app))
        await pilot.press("e")
        await until(pilot, lambda: "export the run" in shown(live.app))
        await pilot.press("down")
        await until(pilot, lambda: live.app.screen.query_one(Input).value.endswith(".csv"))
        for _ in ENDINGS:
            await pilot.press("down")
        await until(pilot, lambda: live.app.screen.query_one(Input).value.endswith(".csv"))

    drive(live.app, WIDE, story)
