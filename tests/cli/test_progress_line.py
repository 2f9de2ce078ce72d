"""How a headless run shows its progress: plain lines where no terminal is."""

from __future__ import annotations

import io
from functools import reduce

import msgspec
import pytest

from serving_ctl.bench.progress import Progress, advance
from serving_ctl.cli.progress_line import ProgressLine
from serving_ctl.events import (
    Cell,
    CellFinished,
    CellStarted,
    CellTick,
    Fact,
    Failure,
    Ladder,
    Latency,
    RunFailed,
    RunFinished,
    RunStarted,
    Target,
)

CELL = Cell(ladder="smoke", size=1000, server="tf-serving", round=1)
EMBEDDED = Target(
    server="tf-serving", name="embedded", label="embedded (TF-Serving-compatible)", version="2.21.0", url=""
)
STARTED = RunStarted(
    run_id="r1",
    started_at="2026-01-02T03:04:05+00:00",
    tool_version="0.1.0",
    preset="smoke",
    title="Smoke",
    profile="quick",
    rounds=2,
    ladders=(Ladder(name="smoke", kind="batch", sizes=(1000,)),),
    targets=(EMBEDDED, Target(server="flask", name="flask", label="flask gunicorn", version="27", url="")),
    facts=(
        Fact(key="keep-alive", mark="warn", short="", text="flask reconnects"),
        Fact(key="machine", mark="info", short="", text="some CPU"),
    ),
    model="m v1",
    signature="s",
    seed=0,
    expected_s=8.0,
)
FINISHED = CellFinished(cell=CELL, requests=40, throughput_rps=123.4, request=Latency(n=40, p50_ms=8.1))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(*events, stream=None) -> str:
    stream = stream or io.StringIO()
    line = ProgressLine(stream)

    def step(progress: Progress, event) -> Progress:
        progress = advance(progress, event)
        line.show(progress, event)
        return progress

    reduce(step, events, Progress())
    line.close()
    line.close()
    return stream.getvalue()


def begun(cell: Cell = CELL) -> CellStarted:
    return CellStarted(cell=cell, number=1, total=4, left_s=8.0)


def tick() -> CellTick:
    return CellTick(
        cell=CELL, phase="window", elapsed_s=0.1, requests=3, errors=0, p50_ms=8.0, max_ms=9.0, throughput_rps=120.0
    )


def test_the_start_says_time_run_and_what_needs_attention():
    text = shown(STARTED)
    assert "! flask reconnects" in text
    assert "some CPU" not in text
    assert "Smoke: about 8.0 s, run r1" in text


def test_one_plain_line_a_cell():
    lines = shown(STARTED, begun(), tick(), tick(), FINISHED).splitlines()
    cells = [line for line in lines if "p50" in line]
    assert len(cells) == 1
    assert "smoke 1,000" in cells[0]
    assert "round 1" in cells[0]
    assert "8.10 ms" in cells[0]
    assert "123 requests/s" in cells[0]


def test_an_embedded_server_s_number_is_not_called_tf_serving_s():
    text = shown(STARTED, begun(), FINISHED)
    assert "tf-serving" not in text
    assert "embedded" in text


def test_failures_and_flags_are_in_the_line():
    finished = msgspec.structs.replace(
        FINISHED, failures=(Failure(kind="5xx", count=1200, example="x"),), flags=("UNSTABLE",)
    )
    text = shown(STARTED, begun(), finished)
    assert "1,200 failed" in text
    assert "UNSTABLE" in text


def test_a_skipped_cell_says_why():
    assert "skipped: saturated" in shown(STARTED, CellFinished(cell=CELL, skipped="saturated"))


def test_a_cell_without_an_answer_has_no_number():
    text = shown(STARTED, begun(), CellFinished(cell=CELL, failures=(Failure(kind="reset", count=5, example=""),)))
    assert "p50 – ms" in text
    assert "5 failed" in text


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (RunFinished(run_id="r1", duration_s=61.0), "done in 1m01s"),
        (RunFailed(run_id="r1", duration_s=2.0, reason="flask stopped: killed."), "flask stopped: killed."),
    ],
)
def test_the_end_is_said(end, words):
    assert words in shown(STARTED, begun(), FINISHED, end)


def test_square_brackets_are_not_markup():
    run = msgspec.structs.replace(STARTED, title="A [bold]title[/bold]")
    assert "A [bold]title[/bold]" in shown(run)


def test_no_escape_codes_outside_a_terminal():
    assert "\x1b" not in shown(STARTED, begun(), tick(), FINISHED, RunFinished(run_id="r1", duration_s=1.0))


def test_a_terminal_gets_a_bar_that_is_taken_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    text = shown(STARTED, begun(), tick(), FINISHED, RunFinished(run_id="r1", duration_s=1.0), stream=Terminal())
    assert "1/4" in text
    assert "done in 1.0 s" in text
    assert "\x1b[2K" in text
