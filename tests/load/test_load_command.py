import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serving_ctl.errors import ConfigError, LoadError
from serving_ctl.load import limits
from serving_ctl.load.alarm import LoopAlarm, TimerAlarm, alarm
from serving_ctl.load.calibrate import Calibration, calibrate, mark_client_bound
from serving_ctl.load.command import load_document, load_spec
from serving_ctl.load.merge import combine_results, merge_results
from serving_ctl.load.pool import module_environment
from serving_ctl.load.work import LoadResult, LoadSpec, Stage
from serving_ctl.stats.latency import count, merge

Load = Callable[..., LoadResult]
Serve = Callable[..., object]


def test_options_become_a_spec(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("{}")
    spec = load_spec("http://h/", headers=["X-A: b: c"], body_file=tmp_path / "b", clients=3, requests=7, rate=5.0)
    assert (spec.method, spec.headers, spec.clients, spec.rate_rps) == ("POST", (("X-A", "b: c"),), 3, 5.0)
    assert (spec.stop.requests, spec.stop.seconds, spec.stop.max_seconds) == (7, 0, None)
    timed = load_spec("http://h/", seconds=2.5)
    assert (timed.method, timed.stop.requests, timed.stop.seconds) == ("GET", 0, 2.5)
    assert load_spec("http://h/").stop.requests == 200


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"clients": 0}, "at least 1 client"),
        ({"requests": 0}, "-n 0"),
        ({"seconds": -1.0}, "-z -1"),
        ({"rate": 0.0}, "--rate 0"),
        ({"requests": 1, "seconds": 1.0}, "exclude each other"),
        ({"headers": ["nonsense"]}, "NAME: VALUE"),
    ],
)
def test_options_that_cannot_be_used_are_explained(options: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_spec("http://h/", **options)  # type: ignore[arg-type]


def test_the_document_keeps_the_contract(serve: Serve, load: Load) -> None:
    url = serve().url
    spec = load_spec(url, requests=30)
    document = load_document(spec, load(url, stop=spec.stop, method="GET"))
    contract = {"requests", "errors", "duration_s", "throughput_rps", "latency_ms", "client", "latency"}
    assert contract <= set(document)
    latency = document["latency_ms"]
    assert isinstance(latency, dict)
    assert list(latency) == ["mean", "p50", "p90", "p95", "p99", "p999", "max"]
    assert latency["p50"] <= latency["p90"] <= latency["max"]
    assert [latency[name] for name in ("p95", "p99", "p999")] == [None] * 3, "withheld: R15"
    assert {"cpu_s", "lag_ms_p99", "limited"} <= set(document["client"])  # type: ignore[arg-type]
    assert (document["latency"], document["errors"]) == ("request", {})
    assert json.loads(json.dumps(document)) == document
    opened = load_document(spec, load(url, requests=5, rate_rps=100.0))
    assert opened["latency"] == "response"


def test_a_result_without_answers_has_a_document() -> None:
    empty = LoadResult(
        requests=0, errors={}, duration_s=0, throughput_rps=0, request=count([]), service=count([]), connect=count([])
    )
    document = load_document(load_spec("http://h/"), empty)
    assert set(document["latency_ms"].values()) == {None}  # type: ignore[attr-defined]


def test_successive_runs_merge_exactly(serve: Serve, load: Load) -> None:
    url = serve().url
    one, two = load(url, requests=40), load(url, requests=60, clients=2)
    both = merge_results([one, two])
    assert (both.requests, both.request.n) == (100, 100)
    assert both.request == merge(one.request, two.request)
    assert both.duration_s == pytest.approx(one.duration_s + two.duration_s)
    assert both.throughput_rps == pytest.approx(100 / both.duration_s)
    assert len(both.windows) == len(one.windows) + len(two.windows)
    together = combine_results([one, two])
    assert together.duration_s == max(one.duration_s, two.duration_s)
    assert together.throughput_rps == pytest.approx(100 / together.duration_s)


def test_a_ramp_from_nothing_is_calibrated_at_its_top() -> None:
    ramp = LoadSpec(url="http://unused/v1", rate_rps=0.0, stages=(Stage(seconds=1, target=200),), clients=4)
    found = asyncio.run(calibrate(ramp, seconds=0.2))
    assert found.ceiling_rps > 0
    assert found.floor_ms > 0


def test_calibration_gives_ceiling_and_floor_and_marks_what_is_near_it(serve: Serve, load: Load) -> None:
    found = asyncio.run(calibrate(LoadSpec(url="http://unused/v1", clients=2), seconds=0.1))
    assert found.ceiling_rps > 0
    assert found.floor_ms > 0
    result = load(serve().url, requests=20)
    near = Calibration(ceiling_rps=1, floor_ms=1e6, cpu_us=1, memory_mb=1)
    assert mark_client_bound(result, near).flags == (*result.flags, "CLIENT-BOUND")
    assert mark_client_bound(mark_client_bound(result, near), near).flags.count("CLIENT-BOUND") == 1
    assert mark_client_bound(result, Calibration(ceiling_rps=1, floor_ms=1e-6, cpu_us=1, memory_mb=1)) == result


@pytest.mark.parametrize("kind", [LoopAlarm, alarm])
def test_an_alarm_rings_once_and_never_early(kind: Callable[..., LoopAlarm | TimerAlarm]) -> None:
    from time import perf_counter_ns

    async def scenario() -> None:
        rung: list[int] = []
        heard = asyncio.Event()

        def ring() -> None:
            rung.append(perf_counter_ns())
            heard.set()

        clock = kind(asyncio.get_running_loop(), ring)
        clock.set(perf_counter_ns() + 3_600_000_000_000)
        due = perf_counter_ns() + 20_000_000
        clock.set(due)
        await asyncio.wait_for(heard.wait(), 10)
        assert rung[0] >= due
        await asyncio.sleep(0.01)
        assert len(rung) == 1
        heard.clear()
        clock.set(due)
        await asyncio.wait_for(heard.wait(), 10)
        assert len(rung) == 2
        clock.close()

    asyncio.run(scenario())


def test_limits_are_explained_before_the_first_connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits.resource, "getrlimit", lambda kind: (1024, 4096))
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(limits.resource, "setrlimit", lambda kind, pair: raised.append(pair))
    limits.raise_file_limit(700)
    limits.raise_file_limit(3000)
    assert raised == [(3256, 4096)]
    with pytest.raises(LoadError, match=r"10256 open files.*4096"):
        limits.raise_file_limit(10_000)
    (tmp_path / "range").write_text("32768\t60999\n")
    monkeypatch.setattr(limits, "_PORT_RANGE", tmp_path / "range")
    limits.check_ports(28_232)
    with pytest.raises(LoadError, match="28232"):
        limits.check_ports(28_233)
    monkeypatch.setattr(limits, "_PORT_RANGE", tmp_path / "absent")
    limits.check_ports(10**6)


def test_a_load_process_imports_little() -> None:
    program = (
        "import sys, serving_ctl.load.worker; "
        "print(*{'docker', 'httpx', 'textual', 'rich', 'click', 'tensorflow', 'psutil'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=module_environment()
    )
    assert out.stdout == "\n"
