"""The screen over recordings: what is seen, and what keys do without servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import recordings
from pilots import LARGE, NARROW, WIDE, drive, main_of, played, replay_app, shown, until
from textual.pilot import Pilot
from textual.widgets import Input

from serving_ctl.errors import ConfigError
from serving_ctl.results.export.markdown import markdown_document
from serving_ctl.results.record import fold_record
from serving_ctl.results.tables import headline_table
from tui import keys
from tui.drawing import server_glyph
from tui.panes.run_view import RunView
from tui.possible import REPLAY
from tui.widgets.ratio_table import RatioTable


@pytest.mark.parametrize("size", [NARROW, WIDE, LARGE])
def test_a_finished_run_shows_every_row_and_the_whole_direction(size: tuple[int, int]) -> None:
    events = recordings.recording()
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        seen = shown(app)
        table = headline_table(fold_record(events, "test"), recordings.SMALL)
        for row in table.rows:
            assert all(cell in seen for cell in row.cells[1:-1])
        assert " ".join(table.notes[0].split()) in " ".join(_right_of_cards(seen).split())
        assert "embedded faster" in seen
        assert "flask reconnects each time" in seen
        assert "embedded (TF-Serving-compatible)" in seen

    drive(app, size, story)


def test_both_cards_tabs_and_keys_are_there_before_anything_is_known() -> None:
    app = replay_app([recordings.servers_ready()[0]])

    async def story(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "STARTING" in shown(app))
        seen = shown(app)
        for words in ("● tf-serving", "■ flask", "Bench", "Model", "Logs", "q quit", "replay of recording.jsonl"):
            assert words in seen

    drive(app, WIDE, story)


def test_while_it_runs_the_row_in_flight_is_selected_until_a_key_moves_the_cursor() -> None:
    events = recordings.recording(cells=34, end="running")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        table = main_of(app).query_one(RatioTable)
        assert table.cursor == 0
        assert "batch size 1 " in shown(app)
        await pilot.press("down", "down")
        await pilot.pause()
        assert table.cursor == 2
        assert "batch size 3 " in shown(app)
        assert not table.follows

    drive(app, WIDE, story)


def test_keys_step_through_all_tables_of_a_run() -> None:
    events = recordings.with_failures(recordings.recording(recordings.SMALL, recordings.CONCURRENCY, preset="full"))
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        titles = []
        for _ in range(8):
            titles.append(next(text for text in shown(app).splitlines() if "table " in text))
            await pilot.press("right_square_bracket")
            await pilot.pause()
        assert "concurrency: makespan" in " ".join(titles)
        assert "concurrency: throughput" in " ".join(titles)
        assert "Failed requests" in " ".join(titles)
        assert len(set(titles)) == 8
        await pilot.press("left")
        await pilot.pause()
        assert titles[-1].split("table ")[1] in shown(app)

    drive(app, WIDE, story)


def test_after_the_end_the_chart_is_of_the_table_in_sight() -> None:
    events = recordings.recording(recordings.SMALL, recordings.CONCURRENCY, rounds=2, preset="full")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        assert "concurrency: makespan" in shown(app)
        assert "makespan, s by clients · both axes log" in shown(app)
        await pilot.press("left")
        await pilot.pause()
        assert "batch-small: inference time" in shown(app)
        assert "inference time, ms by batch size · from 0" in shown(app)

    drive(app, LARGE, story)


def test_on_small_screens_enter_shows_the_details() -> None:
    events = recordings.recording(cells=34, end="running")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        assert "mean request, ms" not in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "mean request, ms" in shown(app)
        assert main_of(app).query_one(RunView).has_class("-details")
        await pilot.press("enter")
        await pilot.pause()
        assert "mean request, ms" not in shown(app)

    drive(app, NARROW, story)


@pytest.mark.parametrize("cells", [34, 80])
def test_with_details_on_a_small_screen_headings_and_selected_row_stay(cells: int) -> None:
    events = recordings.recording(cells=cells, end="running") if cells < 80 else recordings.recording()
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        seen = shown(app)
        assert "mean request, ms" in seen
        assert "rate      95 % CI" in seen
        assert any(text.startswith("▸  3") for text in seen.splitlines())
        await pilot.press("end")
        await pilot.pause()
        assert any(text.startswith("▸ 10") for text in shown(app).splitlines())

    drive(app, NARROW, story)


def test_v_steps_through_ticks_sizes_and_histogram_while_a_run_is_on() -> None:
    events = recordings.recording(cells=34, end="running")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        for words in ("max ", "by batch size · from 0", "all rounds", "max "):
            assert words in shown(app)
            await pilot.press("v")
            await pilot.pause()

    drive(app, WIDE, story)


def test_every_server_of_a_recording_has_its_card() -> None:
    events = recordings.with_more_servers(recordings.recording(), "eu.west", "模型")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        names = [f"{server_glyph(server)} {server}" for server in ("tf-serving", "flask", "eu.west", "模型")]
        await until(pilot, lambda: all(name in shown(app) for name in names))
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert shown(app).splitlines()[2].split()[1:3] == ["eu.west", "✓"]

    drive(app, WIDE, story)


def test_a_click_selects_a_row() -> None:
    events = recordings.recording()
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        table = main_of(app).query_one(RatioTable)
        await pilot.click(RatioTable, offset=(20, table.size.height - 1))
        await pilot.pause()
        assert table.cursor == 9

    drive(app, WIDE, story)


def test_export_is_the_table_of_the_command_line(tmp_path: Path) -> None:
    events = recordings.recording()
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.focused, Input))
        seen = shown(app)
        assert "batch-small-20260102-1402.md" in seen
        assert str(tmp_path)[:20] in seen
        await pilot.press("enter")
        await until(pilot, lambda: "✓ written" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard.endswith("batch-small-20260102-1402.md"))
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        written = tmp_path / "batch-small-20260102-1402.md"
        assert written.read_text() == markdown_document(fold_record(events, "test"))

    drive(app, WIDE, story)


def test_export_never_overwrites_without_asking(tmp_path: Path) -> None:
    events = recordings.recording(rounds=2)
    app = replay_app(events)
    target = tmp_path / "batch-small-20260102-1402.md"
    target.write_text("mine")

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press("enter")
        await until(pilot, lambda: "This file exists" in shown(app))
        assert target.read_text() == "mine"
        await pilot.press("enter")
        await until(pilot, lambda: "✓ written" in shown(app))
        assert target.read_text().startswith("# Batch test")

    drive(app, NARROW, story)


def test_export_says_why_it_cannot_write_and_stays_open() -> None:
    events = recordings.recording(rounds=2)
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.focused, Input))
        assert isinstance(app.focused, Input)
        app.focused.value = "nowhere/result.md"
        await pilot.press("enter")
        await until(pilot, lambda: "does not exist" in " ".join(shown(app).split()))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)

    drive(app, WIDE, story)


@pytest.mark.parametrize("key", ["s", "r", "c", "1", "u"])
def test_keys_for_servers_say_that_this_is_a_replay(key: str) -> None:
    events = recordings.recording(cells=1, end="cancelled")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press(key)
        await until(pilot, lambda: app._notifications)
        assert [notice.message for notice in app._notifications] == [keys.say(REPLAY)]

    drive(app, WIDE, story)


def test_help_shows_every_key_and_closes() -> None:
    app = replay_app(recordings.recording(cells=1, end="cancelled"))

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await until(pilot, lambda: "Run the preset of that number" in shown(app))
        assert "Export the run as a file" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)

    drive(app, WIDE, story)


def test_the_palette_offers_only_what_is_possible() -> None:
    events = recordings.recording(cells=1, end="cancelled")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        names = [command.title for command in app.get_system_commands(app.screen)]
        assert "Export the run as a file" in names
        assert "Theme" in names
        assert not [name for name in names if name.startswith(("Run ", "Start", "Restart", "Cancel"))]

    drive(app, WIDE, story)


@pytest.mark.parametrize("theme", ["tfserve-light", "textual-light", "nord", "ansi-dark"])
def test_other_themes_draw_the_same_words(theme: str) -> None:
    events = recordings.recording(rounds=2)
    app = replay_app(events, theme=theme)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        assert "embedded faster" in shown(app)

    drive(app, WIDE, story)


def test_an_unknown_theme_is_a_settings_error() -> None:
    with pytest.raises(ConfigError, match="tfserve-dark"):
        replay_app([], theme="no-such-theme")


@pytest.mark.parametrize("size", [(300, 100), (80, 24), (100, 30), (99, 50)])
def test_any_size_and_a_resize_in_between_are_drawn(size: tuple[int, int]) -> None:
    events = recordings.recording(cells=34, end="running")
    app = replay_app(events)

    async def story(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: app.size == size)
        seen = shown(app)
        assert "● tf-serving" in seen
        assert "batch-small" in seen
        assert "0.41" in seen

    drive(app, WIDE, story)


def _right_of_cards(seen: str) -> str:
    """The screen without the cards at the left, if they are there."""
    has_cards = any(text.startswith("╭") for text in seen.splitlines())
    return "\n".join(text[37:] if has_cards else text for text in seen.splitlines())
