"""What a face shows: ``advance`` over events, and that it agrees with the record that is kept."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.bench.progress import KEPT_LINES, KEPT_SAMPLES, KEPT_TICKS, Progress, advance
from serving_ctl.events import (
    Cell,
    CellFinished,
    CellStarted,
    CellTick,
    Event,
    Ladder,
    LogLine,
    RunFailed,
    RunFinished,
    RunStarted,
    ServerChanged,
    ServerSampled,
    ServerState,
    Target,
    decode_events,
    encode_event,
)
from serving_ctl.results.record import fold_record


def run(name: str = "r1") -> RunStarted:
    return RunStarted(
        run_id=name,
        started_at="2026-01-02T03:04:05+00:00",
        tool_version="0.1.0",
        preset="smoke",
        title="Smoke",
        profile="quick",
        rounds=2,
        ladders=(Ladder(name="smoke", kind="batch", sizes=(1, 10)),),
        targets=tuple(Target(server=s, name=s, label=s, version="?", url="") for s in ("tf-serving", "flask")),
        facts=(),
        model="m v1",
        signature="serving_default",
        seed=0,
        expected_s=8.0,
    )


def cell(number: int = 0) -> Cell:
    server = "flask" if number % 2 else "tf-serving"
    return Cell(ladder="smoke", size=1, server=server, round=number // 2 + 1)


def started(number: int = 0) -> CellStarted:
    return CellStarted(cell=cell(number), number=number + 1, total=8, left_s=8.0 - number)


def tick(number: int = 0, p50_ms: float | None = 1.0) -> CellTick:
    return CellTick(
        cell=cell(number),
        phase="window",
        elapsed_s=0.1,
        requests=3,
        errors=0,
        p50_ms=p50_ms,
        max_ms=p50_ms,
        throughput_rps=30.0,
    )


def changed(server: str, state: ServerState) -> ServerChanged:
    return ServerChanged(server=server, state=state)


def sampled(cpu: float) -> ServerSampled:
    return ServerSampled(server="flask", cpu_percent=cpu, memory_mb=1.0, processes=5)


def after(*events: Event) -> Progress:
    return reduce(advance, events, Progress())


some_events = st.lists(
    st.one_of(
        st.builds(run, st.sampled_from(["r1", "r2"])),
        st.builds(started, st.integers(0, 7)),
        st.builds(tick, st.integers(0, 7), st.none() | st.floats(0.1, 9.0)),
        st.builds(lambda n: CellFinished(cell=cell(n), requests=n), st.integers(0, 7)),
        st.just(RunFinished(run_id="r1", duration_s=1.0)),
        st.just(RunFailed(run_id="r1", duration_s=1.0, reason="x")),
        st.just(LogLine(server="flask", text="x")),
        st.builds(sampled, st.floats(0, 100)),
        st.just(changed("flask", ServerState.READY)),
    ),
    max_size=30,
)


@given(some_events)
def test_the_face_and_the_record_tell_the_same_run(events):
    events = [run("r0"), *events]
    assert after(*events).run == fold_record(events, "r.jsonl")


@given(some_events)
def test_a_replayed_recording_shows_what_was_shown(events):
    events = [run("r0"), *events]
    replayed = decode_events([encode_event(event) for event in events], "r.jsonl")
    assert after(*replayed) == after(*events)


@given(some_events, st.data())
def test_advance_never_changes_what_it_was_given(events, data):
    whole = [run("r0"), *events]
    cut = data.draw(st.integers(0, len(whole)))
    before = after(*whole[:cut])
    copy = after(*whole[:cut])
    reduce(advance, whole[cut:], before)
    assert before == copy


def test_nothing_is_known_at_first():
    progress = Progress()
    assert not progress.is_running
    assert progress.fraction == 0.0
    assert (progress.run, progress.started, progress.tick, progress.ticks) == (None, None, None, ())


def test_servers_keep_their_newest_state():
    states = (changed("flask", ServerState.STARTING), changed("flask", ServerState.READY))
    progress = after(*states, changed("tf-serving", ServerState.FAILED))
    assert {name: event.state for name, event in progress.servers.items()} == {
        "flask": ServerState.READY,
        "tf-serving": ServerState.FAILED,
    }


@pytest.mark.parametrize(
    ("event_of", "kept", "limit"),
    [
        (sampled, lambda progress: [s.cpu_percent for s in progress.samples["flask"]], KEPT_SAMPLES),
        (lambda i: LogLine(server="flask", text=str(i)), lambda p: [int(t) for t in p.logs["flask"]], KEPT_LINES),
        (lambda i: tick(p50_ms=float(i + 1)), lambda p: [t.p50_ms - 1 for t in p.ticks], KEPT_TICKS),
    ],
    ids=["samples", "logs", "ticks"],
)
def test_only_the_newest_are_kept(event_of, kept, limit):
    progress = after(run(), *(event_of(i) for i in range(limit + 10)))
    assert kept(progress) == list(range(10, limit + 10))


def test_a_tick_without_a_latency_is_shown_but_not_drawn():
    progress = after(run(), started(), tick(), tick(p50_ms=None))
    assert progress.tick.p50_ms is None
    assert len(progress.ticks) == 1


def test_a_finished_cell_has_no_tick_any_more():
    progress = after(run(), started(), tick(), CellFinished(cell=cell()))
    assert progress.tick is None
    assert len(progress.ticks) == 1
    assert progress.run.current is None


def test_the_next_cell_starts_without_the_last_one_s_tick():
    progress = after(run(), started(), tick(), started(1))
    assert progress.tick is None
    assert progress.started == started(1)
    assert progress.run.current == cell(1)


def test_a_run_is_running_until_its_end():
    assert after(run()).is_running
    assert not after(run(), RunFinished(run_id="r1", duration_s=1.0)).is_running
    assert not after(run(), RunFailed(run_id="r1", duration_s=1.0, reason="x")).is_running


def test_the_fraction_grows_to_one():
    events: list[Event] = [run()]
    fractions = []
    for number in range(8):
        events += [started(number), CellFinished(cell=cell(number))]
        fractions.append(after(*events).fraction)
    assert fractions == [pytest.approx((i + 1) / 8) for i in range(8)]


def test_a_new_run_begins_anew_and_the_servers_stay():
    first = [changed("flask", ServerState.READY), run("r1"), started(), tick(), CellFinished(cell=cell())]
    progress = after(*first, run("r2"))
    assert progress.run.started.run_id == "r2"
    assert (progress.run.cells, progress.started, progress.ticks, progress.fraction) == ((), None, (), 0.0)
    assert progress.servers["flask"].state is ServerState.READY


def test_cells_without_a_run_are_passed_over():
    assert after(started(), tick(), CellFinished(cell=cell())).run is None
