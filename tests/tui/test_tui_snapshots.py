"""Pictures of the screen in its states at three sizes. Look at a new one before you accept it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import recordings
from pilots import LARGE, NARROW, WIDE, Live, main_of, played, replay_app, shown, until
from textual.pilot import Pilot

from serving_ctl.api.rest import ModelVersion
from serving_ctl.events import CellFinished, Event

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
    that says what the rate means in full, and "e exports it"; from 40 rows on, over the table, its chart: one point a
    size and server, from 0, with intervals."""
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
    """You should see tf-serving ready since 1m15s, flask failed, and over both the doctor: first why flask did not
    start, then what else bars a start, each with its fix."""
    live = Live(broken=frozenset({"flask"}))

    async def started(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: "start it, or use embedded" in shown(live.app))
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


@SIZES
def test_a_kept_run_with_its_distribution(snap_compare: Compare, size: tuple[int, int]) -> None:
    """You should see a run opened from the history, after v: in place of its table's chart one band of bars a server on
    one axis from 0 ms (at 200 columns beside it), and the table."""
    live = Live()

    async def chosen(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.history.kept = {"r1": with_histograms(recordings.recording(rounds=2))}
        await pilot.press("h")
        await until(pilot, lambda: "✓ finished" in shown(live.app))
        await pilot.press("enter")
        await until(pilot, lambda: "✓ done" in shown(live.app))
        view = main_of(live.app).query_one("#run-view")
        while not view.has_class("-histogram"):
            await pilot.press("v")
            await pilot.pause()

    assert snap_compare(live.app, terminal_size=size, run_before=chosen)


def test_a_long_ladder_on_logarithmic_axes(snap_compare: Compare) -> None:
    """You should see 1 to 10,000 on axes that say they are logarithmic: two curves, none flat on the ground, every mark
    in its server's colour, numbers on their decimal point."""
    events = recordings.recording(recordings.LARGE, preset="batch-large")
    assert snap_compare(replay_app(events), terminal_size=WIDE, run_before=to_the_end(events))


def test_a_run_of_four_servers(snap_compare: Compare) -> None:
    """You should see four cards, four curves with a shape each, and a table with three rates and their intervals."""
    events = recordings.with_more_servers(recordings.recording(), "eu.west", "us")
    assert snap_compare(replay_app(events), terminal_size=LARGE, run_before=to_the_end(events))


def test_a_paused_run(snap_compare: Compare) -> None:
    """You should see "‖ paused" in the run's line, the keys that steer a run in the footer, and the time left."""
    live = Live()
    live_script = recordings.recording(rounds=2, cells=14, end="running")

    async def paused(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.script = [*live_script, recordings.recording()[-1]]
        await pilot.press("1")
        await until(pilot, lambda: main_of(live.app).situation.is_measuring)
        await pilot.press("p")
        await until(pilot, lambda: "‖ paused" in shown(live.app))

    assert snap_compare(live.app, terminal_size=NARROW, run_before=paused)


@pytest.mark.parametrize(
    ("key", "sign"),
    [("t", "a fine film"), ("l", "line 2"), ("h", "✓ finished"), ("d", "docker run"),
     ("a", "start it, or use embedded"), ("o", "warm-up seconds"),
     ("f", "enable_batching"), ("g", "text_cnn")],
    ids=["try-it", "logs", "history", "containers", "doctor", "preset-form", "flags", "config-files"],
)  # fmt: skip
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
def test_panes_and_dialogs(snap_compare: Compare, size: tuple[int, int], key: str, sign: str) -> None:
    """You should see the pane or dialog of the key over two servers that run, its own keys on its border, nothing cut
    off, and every button in sight."""
    live = Live()

    async def asked(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await pilot.press(key)
        await until(pilot, lambda: sign in shown(live.app))

    assert snap_compare(live.app, terminal_size=size, run_before=asked)


def test_every_picture_belongs_to_a_test(request: pytest.FixtureRequest) -> None:
    """The plugin that would say so sees only what its own worker of pytest-xdist has used."""
    module = request.node.getparent(pytest.Module)
    kept = Path(__file__).with_name("__snapshots__") / Path(__file__).stem
    assert {file.stem for file in kept.iterdir()} <= {test.name for test in module.collect()}


async def stale_answers(pilot: Pilot[Any], live: Live) -> None:
    """Answers to a sentence that was changed since."""
    await pilot.press("t")
    await until(pilot, lambda: "a fine film" in shown(live.app))
    await pilot.press("enter")
    await until(pilot, lambda: "the predictions agree" in shown(live.app))
    await pilot.press("d", "u", "l", "l")
    await until(pilot, lambda: "answers are to an earlier one" in shown(live.app))


async def versions(pilot: Pilot[Any], live: Live) -> None:
    """A version that is loaded, one that could not be, one that is available."""
    live.engine.versions = (
        ModelVersion(version="3", state="LOADING"),
        ModelVersion(version="2", state="END", error="Read less bytes than requested; is the file whole?"),
        ModelVersion(version="1", state="AVAILABLE"),
    )
    await pilot.press("m", "v", "v", "v")
    await until(pilot, lambda: "LOADING" in shown(live.app) and "speaks REST" in shown(live.app))


async def only_errors(pilot: Pilot[Any], live: Live) -> None:
    """A filter that hides nearly all lines."""
    live.engine.written = {"flask": ["[1] [ERROR] it broke", "fine"]}
    await pilot.press("l")
    await until(pilot, lambda: "fine" in shown(live.app))
    await pilot.press("v", "v")
    await until(pilot, lambda: "Only errors" in shown(live.app))


@pytest.mark.parametrize("state", [stale_answers, versions, only_errors], ids=["stale", "versions", "errors"])
def test_panes_in_their_states(snap_compare: Compare, state: Callable[[Pilot[Any], Live], Awaitable[None]]) -> None:
    """You should see in words what is special: answers that are old and faint; each version with its sign, why one
    ended and no snippet where nothing listens; that lines are hidden, which, and the key that shows all."""
    live = Live()

    async def reached(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "batch-small" in shown(live.app))
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await state(pilot, live)

    assert snap_compare(live.app, terminal_size=NARROW, run_before=reached)


def with_histograms(events: list[Event]) -> list[Event]:
    """The same run, each cell with a distribution around its median."""
    return [
        msgspec.structs.replace(event, histogram=spread(event.request.p50_ms))
        if isinstance(event, CellFinished) and event.request.p50_ms
        else event
        for event in events
    ]


def spread(middle_ms: float) -> tuple[tuple[int, int], ...]:
    """(bucket, count) pairs of an invented distribution; buckets below 2048 µs are microseconds."""
    return tuple((int(min(2000, 300 * middle_ms) * (0.8 + 0.02 * n)), 40 - n) for n in range(40))
