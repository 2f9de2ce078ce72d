"""The event vocabulary as JSON lines: every event survives the way, and damage is said or left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl import events
from serving_ctl.errors import ConfigError

numbers = st.floats(min_value=0, max_value=1e9)
text = st.text(max_size=40)
cells = st.builds(events.Cell, ladder=text, size=st.integers(1, 10_000), server=text, round=st.integers(1, 10))
latencies = st.builds(events.Latency, n=st.integers(0, 10**6), p50_ms=st.none() | numbers, p999_ms=st.none() | numbers)
any_event = st.one_of(
    st.builds(
        events.ServerChanged,
        server=text,
        state=st.sampled_from(events.ServerState),
        detail=text,
        started_at=st.none() | numbers,
        ours=st.booleans(),
    ),
    st.builds(events.ServerSampled, server=text, cpu_percent=numbers, memory_mb=numbers, processes=st.integers(0, 99)),
    st.builds(events.LogLine, server=text, text=text),
    st.builds(
        events.RunStarted,
        run_id=text,
        started_at=text,
        tool_version=text,
        preset=text,
        title=text,
        profile=text,
        rounds=st.just(4),
        ladders=st.tuples(st.builds(events.Ladder, name=text, kind=st.just("batch"), sizes=st.just((1, 10)))),
        targets=st.tuples(st.builds(events.Target, server=text, name=text, label=text, version=text, url=text)),
        facts=st.tuples(st.builds(events.Fact, key=text, mark=st.just("ok"), short=text, text=text)),
        model=text,
        signature=text,
        seed=st.integers(0, 99),
        expected_s=numbers,
    ),
    st.builds(events.CellStarted, cell=cells, number=st.just(1), total=st.just(8), left_s=numbers),
    st.builds(
        events.CellTick,
        cell=cells,
        phase=st.just("window"),
        elapsed_s=numbers,
        requests=st.integers(0, 99),
        errors=st.integers(0, 99),
        p50_ms=st.none() | numbers,
        max_ms=st.none() | numbers,
        throughput_rps=numbers,
    ),
    st.builds(
        events.CellFinished,
        cell=cells,
        requests=st.integers(0, 99),
        request=latencies,
        makespan_s=st.none() | numbers,
        parts=st.tuples(st.builds(events.Part, name=text, ms=numbers)),
        failures=st.tuples(st.builds(events.Failure, kind=text, count=st.integers(1, 9), example=text)),
        flags=st.tuples(text),
        histogram=st.tuples(st.tuples(st.integers(0, 9), st.integers(1, 9))),
    ),
    st.builds(events.RunFinished, run_id=text, duration_s=numbers),
    st.builds(events.RunFailed, run_id=text, duration_s=numbers, reason=text, cancelled=st.booleans()),
)

LINE = events.encode_event(events.LogLine(server="flask", text="Booting worker"))


@given(st.lists(any_event, max_size=5))
def test_events_survive_the_way_through_json_lines(sent):
    lines = [events.encode_event(event) for event in sent]
    assert list(events.decode_events(lines, "r.jsonl")) == sent
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)


@given(st.lists(any_event, min_size=1, max_size=4), st.data())
def test_a_recording_cut_anywhere_keeps_every_whole_line(sent, data):
    whole = b"".join(map(events.encode_event, sent))
    kept = whole[: data.draw(st.integers(0, len(whole)))]
    found = list(events.decode_events(kept.splitlines(keepends=True), "r.jsonl"))
    assert found == sent[: kept.count(b"\n")]


def test_a_line_names_its_event_first():
    assert LINE.startswith(b'{"event":"LogLine"')


def test_events_are_facts_that_cannot_be_changed():
    event = events.LogLine(server="flask", text="x")
    with pytest.raises(AttributeError):
        event.text = "y"


def test_a_field_of_a_later_version_is_passed_over():
    line = json.dumps({"event": "LogLine", "server": "flask", "text": "x", "new": 1}).encode() + b"\n"
    assert list(events.decode_events([line], "r.jsonl")) == [events.LogLine(server="flask", text="x")]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"not json\n",
        b'{"event":"Unheard"}\n',
        b'{"event":"LogLine","server":1,"text":"x"}\n',
        b'{"server":"flask"}\n',
        b'{"event":"LogLine","server":"flask","text":"\xff"}\n',
    ],
)
def test_a_line_that_is_no_event_is_named(line):
    with pytest.raises(ConfigError, match=r"r\.jsonl: line 2 "):
        list(events.decode_events([LINE, line, LINE], "r.jsonl"))


def test_a_recording_is_read_from_its_file(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(LINE * 3 + LINE[:10])
    assert len(events.read_recording(path)) == 3


@pytest.mark.parametrize("content", [b"", LINE[:20]])
def test_a_recording_without_a_whole_event_says_so(tmp_path, content):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no events"):
        events.read_recording(path)


def test_a_recording_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"r\.jsonl: cannot be read"):
        events.read_recording(tmp_path / "r.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        events.read_recording(tmp_path)
