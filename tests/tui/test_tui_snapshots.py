"""Pictures of the screen in its states at three sizes. Look at a new one before you accept it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import recordings
from pilots import LARGE, NARROW, WIDE, Live, main_of, played, replay_app, shown, until
from textual.pilot import Pilot

from serving_ctl.events import Event

Compare = Callable[..., bool]
SIZES = pytest.mark.parametrize("size", [NARROW, WIDE, LARGE], ids=["80x24", "120x40", "200x60"])


def to_the_end(events: list[Event]) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """What a snapshot waits for."""

    async def wait(pilot: Pilot[Any]) -> None:
        await played(pilot, events)

    return wait


@SIZES
def test_a_run_in_progress(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see round 2 of batch-small: progress with time left, both servers' lines in one chart from 0, the row
    in flight selected, and (from 40 rows on) its details with the waterfall; nothing is cut at the right edge."""
    events = recordings.recording(cells=34, end="running")
    assert snap_compare(replay_app(events), terminal_size=size, run_before=to_the_end(events))


@SIZES
def test_a_finished_run(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see ten rows with ratio, interval, bar and "embedded faster", row 3 marked as unstable, the sentence
    that says what the rate means in full, and "e exports it"."""
    events = recordings.recording()
    assert snap_compare(replay_app(events), terminal_size=size, run_before=to_the_end(events))


@SIZES
def test_a_run_that_stopped_early(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see "stopped early", why, how many cells are kept and which key exports them; rows not reached are
    faint, and row 2 says that requests failed."""
    events = recordings.with_failures(recordings.recording(cells=9, end="died"))
    assert snap_compare(replay_app(events), terminal_size=size, run_before=to_the_end(events))


@SIZES
def test_the_concurrency_table_of_a_full_run(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see the makespan of 1 to 10,000 clients in s, numbers on their decimal point, "table 7 of 10"."""
    events = recordings.recording(recordings.SMALL, recordings.LARGE, recordings.CONCURRENCY, preset="full")
    assert snap_compare(replay_app(events), terminal_size=size, run_before=to_the_end(events))


def test_a_run_in_the_light_theme(snap_compare: Compare) -> None:
    """You should see the same on a light background, every word readable."""
    events = recordings.recording(cells=34, end="running")
    app = replay_app(events, theme="tfserve-light")
    assert snap_compare(app, terminal_size=WIDE, run_before=to_the_end(events))


def test_a_run_against_tensorflow_serving(snap_compare: Compare) -> None:
    """You should see "tf-serving docker" in card and heading, "tf-serving faster", and nowhere "embedded"."""
    events = recordings.recording(first=recordings.DOCKER)
    assert snap_compare(replay_app(events), terminal_size=WIDE, run_before=to_the_end(events))


@SIZES
def test_the_first_screen(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see both servers stopped with the key that starts them, and the presets with keys and times."""
    live = Live()

    async def opened(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))

    assert snap_compare(live.app, terminal_size=size, run_before=opened)


@SIZES
def test_servers_on_their_way(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see tf-serving ready since 1m15s, and flask failed with the whole reason."""
    live = Live(broken=frozenset({"flask"}))

    async def started(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: "FAILED" in shown(live.app) and "READY" in shown(live.app))
        live.app.clear_notifications()
        await until(pilot, lambda: "Not done" not in shown(live.app))

    assert snap_compare(live.app, terminal_size=size, run_before=started)


@SIZES
def test_the_model_pane(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see both servers' trees down to dtypes and shapes, and the JSON of the selected server."""
    live = Live()

    async def asked(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await pilot.press("m")
        await until(pilot, lambda: "AVAILABLE" in shown(live.app))

    assert snap_compare(live.app, terminal_size=size, run_before=asked)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
def test_the_help(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see the table of all keys over the dimmed screen."""
    events = recordings.recording(cells=4, end="cancelled")

    async def asked(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press("question_mark")
        await until(pilot, lambda: "Run the preset" in shown(app))

    app = replay_app(events)
    assert snap_compare(app, terminal_size=size, run_before=asked)


def test_the_quit_question(snap_compare: Compare) -> None:
    """You should see three answers with their keys, "Stop them" in focus."""
    live = Live()

    async def asked(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await pilot.press("q")
        await until(pilot, lambda: "Leave running" in shown(live.app))

    assert snap_compare(live.app, terminal_size=NARROW, run_before=asked)


def test_details_on_a_small_screen(snap_compare: Compare) -> None:
    """You should see the details of the selected row where the chart was."""
    events = recordings.recording(cells=34, end="running")

    async def toggled(pilot: Pilot[Any]) -> None:
        await played(pilot, events)
        await pilot.press("enter")
        await until(pilot, lambda: main_of(app).query_one("#run-view").has_class("-details"))

    app = replay_app(events)
    assert snap_compare(app, terminal_size=NARROW, run_before=toggled)
