"""The one table of keys, what is possible when, themes, and the bridge between events and screen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import recordings
from pilots import WIDE, Live, drive, main_of, shown, until
from textual.pilot import Pilot

from serving_ctl.bench.progress import Progress, advance
from serving_ctl.errors import ConfigError
from serving_ctl.events import CellTick, Event
from tui import keys
from tui.bridge import Bridge, play
from tui.drawing import plain
from tui.panes.history import HistoryPane
from tui.panes.logs import LogsPane
from tui.panes.try_it import TryItPane
from tui.possible import REPLAY, Situation, obstacle
from tui.screens.config_editor import ConfigEditor
from tui.screens.containers import ContainersScreen
from tui.screens.doctor import DoctorScreen
from tui.screens.export import ExportScreen
from tui.screens.flags_form import FlagsForm
from tui.screens.main import MainScreen
from tui.screens.preset_form import PresetForm
from tui.screens.tasks import TasksScreen
from tui.screens.workers import WorkersScreen
from tui.theme import DARK_VARIABLES, LIGHT_VARIABLES, ROLE_LOOKS, THEMES, check_theme, role_style
from tui.widgets.key_line import digits_text, key_items, key_line
from tui.widgets.log_tail import LogTail
from tui.widgets.ratio_table import RatioTable

READY = Situation(is_open=True, preset_keys=frozenset("0123"))


def test_no_key_is_declared_twice_in_one_place() -> None:
    for place in keys.PLACES:
        names = [name for key in keys.KEYS if key.place == place for name in key.keys.split(",")]
        assert len(names) == len(set(names))


def test_every_action_of_the_table_exists() -> None:
    owners = {
        "main": MainScreen, "table": RatioTable, "try": TryItPane, "logs": LogTail, "history": HistoryPane,
        "workers": WorkersScreen, "containers": ContainersScreen, "doctor": DoctorScreen, "written": ExportScreen,
        "flags": FlagsForm, "configs": ConfigEditor, "tasks": TasksScreen, "preset": PresetForm, "export": ExportScreen,
    }  # fmt: skip
    for key in keys.KEYS:
        owner = LogsPane if key.id == "logs_filter" else owners[key.place]
        assert hasattr(owner, f"action_{key.action.partition('(')[0]}"), key


def test_the_help_lists_every_key() -> None:
    rows = [row for place in keys.PLACES for row in keys.help_rows(place)]
    assert len(rows) == len(keys.KEYS) + len(keys.FROM_TEXTUAL)
    assert all(written and what for written, what in rows)


def test_every_key_has_an_id_of_its_own() -> None:
    assert len({key.id for key in keys.KEYS}) == len(keys.KEYS)


def test_the_readme_has_the_table_of_keys() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- keys: made by tui/keys.py -->\n", "<!-- end of keys -->"
    assert readme.partition(begin)[2].partition(end)[0] == keys.markdown(), "`make screenshots` renews it"


def test_main_keys_fit_80_columns() -> None:
    drawn = plain([key_line(msgspec.structs.replace(READY, has_run=True), 80)])[0]
    for words in ("0–3 run", "s start", "r restart", "e export", "v view", "? help", "q quit", "^p palette"):
        assert words in drawn
    running = msgspec.structs.replace(READY, has_run=True, is_running=True, is_measuring=True)
    drawn = plain([key_line(running, 80)])[0]
    for words in ("p pause", "n skip cell", "+ client", "- client", "c cancel", "? help", "q quit", "^p palette"):
        assert words in drawn


def test_only_what_does_something_now_is_shown() -> None:
    before_a_run = {item.action for item in key_items(READY)}
    assert {"toggle_servers", "first_step"} <= before_a_run
    assert not before_a_run & {"open('export')", "cancel_run", "next_view", "pause"}
    on_its_way = {item.action for item in key_items(msgspec.structs.replace(READY, is_moving=True))}
    assert {"toggle_servers", "cancel_run"} <= on_its_way


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pane": "logs"}, ("/ filter", "f follow", "v severity", "b Bench")),
        ({"pane": "history"}, ("Enter open", "Space mark", "b Bench")),
        ({"pane": "model", "is_running": True}, ("c cancel", "v JSON, code", "y copy", "b Bench")),
        ({"pane": "try"}, ("Ctrl-R send", "v signature")),
        ({"servers_up": frozenset({"flask", "tf-serving"})}, ("s stop", "r restart")),
        ({"card": "flask", "servers_up": frozenset({"flask"})}, ("s stop flask", "r restart flask")),
        ({"has_run": True, "is_short": True, "is_replay": True}, ("e export", "v view", "Enter details")),
    ],
)
def test_the_keys_follow_pane_and_state(change: dict[str, object], words: tuple[str, ...]) -> None:
    drawn = plain([key_line(msgspec.structs.replace(READY, **change), 120)])[0]
    assert all(word in drawn for word in (*words, "? help", "q quit"))


def test_while_a_text_has_the_focus_no_key_is_shown_that_would_go_into_it() -> None:
    typing = msgspec.structs.replace(READY, pane="try", is_typing=True)
    drawn = plain([key_line(typing, 120)])[0]
    assert drawn.split("  ")[:2] == ["Ctrl-R send", "Escape leave the text"]
    assert not {"v signature", "q quit", "? help"} & {part.strip() for part in drawn.split("  ")}


@pytest.mark.parametrize(("digits", "text"), [("0123", "0–3"), ("13", "1 3"), ("1379", "1 3 7 9"), ("", "")])
def test_digits_are_written_short(digits: str, text: str) -> None:
    assert digits_text(digits) == text


@pytest.mark.parametrize(
    ("change", "action", "argument", "words"),
    [
        ({}, "run_preset", "1", ""),
        ({}, "run_preset", "7", "No preset has the key 7"),
        ({"is_running": True}, "run_preset", "1", "A run is on already"),
        ({"is_running": True}, "toggle_servers", "", "c cancels"),
        ({"is_running": True}, "cancel_run", "", ""),
        ({"is_moving": True}, "run_preset", "1", "on its way"),
        ({"is_moving": True}, "restart_servers", "", "on its way"),
        ({"is_moving": True}, "toggle_servers", "", ""),
        ({"is_moving": True}, "cancel_run", "", ""),
        ({}, "cancel_run", "", "Nothing to cancel"),
        ({}, "open", "export", "a number key runs a preset"),
        ({"has_run": True}, "open", "export", ""),
        ({}, "pause", "", "Nothing is being measured"),
        ({"is_measuring": True}, "skip_cell", "", ""),
        ({"is_running": True}, "open", "doctor", "not disturbed"),
        ({}, "open", "workers", "s starts it"),
        ({}, "open", "flags", ""),
        ({"is_running": True}, "open", "flags", "keeps its servers"),
        ({"is_moving": True}, "open", "configs", "on its way"),
        ({"is_replay": True}, "open", "configs", keys.say(REPLAY)),
        ({"servers_up": frozenset({"flask"})}, "open", "workers", ""),
        ({}, "hard_stop", "", "No server is up"),
        ({"is_replay": True}, "open", "containers", keys.say(REPLAY)),
        ({"problem": "No model.", "can_export_model": True}, "first_step", "", ""),
        ({"problem": "No model."}, "first_step", "", "No model."),
        ({"has_run": True}, "first_step", "", "number keys run presets"),
        ({"is_open": False}, "toggle_servers", "", "one moment"),
        ({"problem": "No model at release."}, "run_preset", "1", "No model at release."),
        ({"problem": "No model at release."}, "toggle_servers", "", "No model at release."),
        ({"is_replay": True}, "toggle_servers", "", keys.say(REPLAY)),
        ({"is_replay": True, "has_run": True}, "open", "export", ""),
        ({"is_open": False}, "help", "", ""),
    ],
)
def test_each_obstacle_says_what_is_possible_instead(
    change: dict[str, object], action: str, argument: str, words: str
) -> None:
    said = obstacle(msgspec.structs.replace(READY, **change), action, argument)
    assert words in said
    assert bool(said) == bool(words)


def test_both_themes_know_every_variable_of_ours() -> None:
    assert DARK_VARIABLES.keys() == LIGHT_VARIABLES.keys()
    for theme in THEMES:
        assert DARK_VARIABLES.keys() <= theme.variables.keys()
        variables = {**theme.to_color_system().generate(), **theme.variables}
        for role in ROLE_LOOKS:
            assert role_style(role, variables)


def test_servers_and_verdicts_have_colours_of_their_own() -> None:
    for variables in (DARK_VARIABLES, LIGHT_VARIABLES):
        names = ("server-tf-serving", "server-flask", "better", "worse", "even", "quiet")
        assert len({variables[name] for name in names}) == len(names)


def test_an_unknown_theme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'tfserv-dark' is not known; did you mean 'tfserve-dark'\? Known: .*nord"):
        check_theme("tfserv-dark", ["tfserve-dark", "nord"])


def test_the_bridge_hands_on_cumulative_progress_at_a_bounded_rate() -> None:
    events = recordings.recording(rounds=2)
    delivered: list[Progress] = []

    async def run() -> None:
        bridge = Bridge(delivered.append, frame_s=0.02)
        for number, event in enumerate(events):
            bridge.emit(event)
            if number % 40 == 0:
                await asyncio.sleep(0.005)
        for _ in range(1000):
            if delivered and delivered[-1] is bridge.progress:
                return
            await asyncio.sleep(0.01)

    asyncio.run(run())
    expected = Progress()
    for event in events:
        expected = advance(expected, event)
    assert delivered[-1] == expected
    assert 1 < len(delivered) < len(events) / 4


def test_a_replay_waits_between_ticks_by_its_speed() -> None:
    events = recordings.recording(cells=2)
    waits: list[float] = []
    taken: list[Event] = []

    async def run(speed: float) -> None:
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await real(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            await play(events, taken.append, speed)

    asyncio.run(run(10.0))
    assert taken == events
    ticks = sum(isinstance(event, CellTick) for event in events)
    assert waits == pytest.approx([0.01] * len(waits))
    assert ticks - 2 <= len(waits) <= ticks
    waits.clear()
    asyncio.run(run(0.0))
    assert set(waits) <= {0}


def test_keys_can_be_remapped_and_every_sentence_says_so() -> None:
    chosen = {"cancel_run": "f8", "open_doctor": "G", "toggle_servers": "f2", "update": "f4", "first_step": "f6"}
    live = Live(keys={**chosen, "logs_show_all": "f7", "doctor_look": "f9"})

    async def story(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: main_of(live.app).situation.is_open and "f6 first run" in shown(live.app))
        assert "f6 starts the servers" in shown(live.app)
        assert "Not running; f2 starts the" in shown(live.app)
        for key, words in (("m", "f2 starts it"), ("t", "f2 starts them"), ("l", "line 2")):
            await pilot.press(key)
            await until(pilot, lambda words=words: words in shown(live.app))
        await pilot.press("v")
        await until(pilot, lambda: "f7 shows all" in shown(live.app))
        await pilot.press("f7")
        await until(pilot, lambda: "f7 shows all" not in shown(live.app))
        await pilot.press("G")
        await until(pilot, lambda: isinstance(live.app.screen, DoctorScreen) and "f9 look again" in shown(live.app))

    drive(live.app, WIDE, story)
    assert ("f8", next(key.help for key in keys.KEYS if key.id == "cancel_run")) in keys.help_rows("main")


def test_an_unknown_id_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'cancel' is no key's id; did you mean 'cancel_run'"):
        Live(keys={"cancel": "f8"})
