import pytest

from serving_ctl.load.recorder import Recorder
from serving_ctl.load.work import Fault

SECOND = 1_000_000_000


def test_standing_and_fresh_connections_make_up_request_time() -> None:
    recorder = Recorder(0)
    recorder.kept(2_000_000)
    recorder.detailed(3_000_000, 1_000_000, 0)
    assert recorder.answered == 2
    piece = recorder.fold(SECOND)
    assert (piece.seconds, piece.latency.n, recorder.answered) == (1.0, 2, 2)
    assert recorder.request.sum_us == pytest.approx(6000)
    assert recorder.service.sum_us == pytest.approx(5000)
    assert (recorder.connect.n, recorder.connect.sum_us) == (1, pytest.approx(1000))
    assert recorder.busy_ns == pytest.approx(6_000_000)


def test_an_open_loop_reports_response_time() -> None:
    recorder = Recorder(0, open_loop=True)
    recorder.detailed(1_000_000, 0, 9_000_000)
    assert recorder.fold(SECOND).latency.max_us == 9000
    assert (recorder.response.n, recorder.request.sum_us) == (1, pytest.approx(1000))


def test_what_is_longer_than_the_histogram_is_an_error() -> None:
    recorder = Recorder(0)
    recorder.kept(121 * SECOND)
    recorder.kept(SECOND)
    recorder.fold(SECOND)
    assert (recorder.request.n, recorder.errored) == (1, 1)
    assert recorder.errors[Fault.OVER_RANGE].example == "121.0 s"


def test_slices_stay_bounded_and_lose_nothing() -> None:
    recorder = Recorder(0)
    for tick in range(1, 1001):
        recorder.kept(1_000_000 * (1 + (tick > 800)))
        recorder.fold(tick * SECOND // 10)
    assert len(recorder.slices) <= 100
    windows = recorder.windows()
    assert len(windows) == 5
    assert sum(window.requests for window in windows) == 1000
    assert sum(window.seconds for window in windows) == pytest.approx(100)
    assert [window.p50_ms for window in windows] == [1.0, 1.0, 1.0, 1.0, 2.0]


def test_what_is_drained_belongs_to_no_window() -> None:
    recorder = Recorder(0)
    for tick in range(1, 11):
        recorder.kept(1_000_000)
        recorder.fold(tick * SECOND)
    recorder.slicing = False
    recorder.kept(1_000_000)
    recorder.fold(20 * SECOND)
    assert sum(window.requests for window in recorder.windows()) == 10
    assert recorder.request.n == 11


def test_the_first_example_of_an_error_is_kept_and_cut() -> None:
    recorder = Recorder(0)
    recorder.error(Fault.RESET, "first" * 1000, 5)
    recorder.error(Fault.RESET, "second", 6)
    error = recorder.errors["reset"]
    assert (error.count, len(error.example), recorder.error_ns) == (2, 400, 11)
    assert error.example.startswith("first")
