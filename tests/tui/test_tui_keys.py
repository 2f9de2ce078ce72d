"""The one table of keys, what is possible when, themes, and the bridge between events and screen."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import recordings

from serving_ctl.bench.progress import Progress, advance
from serving_ctl.errors import ConfigError
from serving_ctl.events import CellTick, Event
from tui import keys
from tui.bridge import Bridge, play
from tui.drawing import plain
from tui.possible import REPLAY, Situation, obstacle
from tui.screens.main import MainScreen
from tui.theme import DARK_VARIABLES, LIGHT_VARIABLES, ROLE_LOOKS, THEMES, check_theme, role_style
from tui.widgets.key_line import digits_text, key_items, key_line
from tui.widgets.ratio_table import RatioTable

READY = Situation(is_open=True, preset_keys=frozenset("0123"))


def test_no_key_is_declared_twice_in_one_place() -> None:
    for place in ("main", "table"):
        names = [name for key in keys.KEYS if key.place == place for name in key.keys.split(",")]
        assert len(names) == len(set(names))


def test_every_action_of_the_table_exists() -> None:
    owners = {"main": MainScreen, "table": RatioTable}
    for key in keys.KEYS:
        assert hasattr(owners[key.place], f"action_{key.action.partition('(')[0]}"), key


def test_the_help_lists_every_key() -> None:
    assert len(keys.help_rows()) == len(keys.KEYS) + len(keys.FROM_TEXTUAL)
    assert all(written and what for written, what in keys.help_rows())


def test_main_keys_fit_80_columns() -> None:
    drawn = plain([key_line(msgspec.structs.replace(READY, has_run=True), 80)])[0]
    for words in ("0–3 run", "s start/stop", "r restart", "c cancel", "e export", "? help", "q quit", "^p palette"):
        assert words in drawn


def test_what_is_not_possible_is_faint() -> None:
    roles = {item.action: item.spans[0].role for item in key_items(READY)}
    assert roles["export"] == "faint"
    assert roles["toggle_servers"] == "key"


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
        ({}, "export", "", "a number key runs a preset"),
        ({"has_run": True}, "export", "", ""),
        ({"is_open": False}, "toggle_servers", "", "one moment"),
        ({"problem": "No model at release."}, "run_preset", "1", "No model at release."),
        ({"problem": "No model at release."}, "toggle_servers", "", "No model at release."),
        ({"is_replay": True}, "toggle_servers", "", REPLAY),
        ({"is_replay": True, "has_run": True}, "export", "", ""),
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
