"""The counters of rule R20 out of a real server's metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving_ctl.api.prometheus import Scrape, parse_scrape
from serving_ctl.errors import ServerAnswerError

DATA = Path(__file__).parents[1] / "data"
BEFORE = (DATA / "metrics-before.txt").read_text(encoding="utf-8")
AFTER = (DATA / "metrics-after.txt").read_text(encoding="utf-8")


def test_a_real_server_after_103_predictions():
    assert parse_scrape(AFTER, "text_cnn") == Scrape(
        request_us=162_225, requests=103, run_us=145_909, runs=103, graph_us=134_063, graph_runs=105
    )


def test_a_real_server_before_the_first_prediction():
    assert parse_scrape(BEFORE, "text_cnn") == Scrape(graph_us=29_666, graph_runs=2)


def test_status_polls_are_not_predictions():
    assert 'API="",entrypoint="REST"} 5' in AFTER
    assert parse_scrape(AFTER, "text_cnn").requests == 103


def test_another_model_s_requests_are_not_ours():
    found = parse_scrape(AFTER, "other")
    assert (found.requests, found.runs) == (0, 0)


def test_grpc_requests_are_not_rest_requests():
    line = ':tensorflow:serving:request_latency_count{model_name="m",API="predict",entrypoint="GRPC"} 7\n'
    rest = line.replace("GRPC", "REST").replace(" 7", " 3")
    assert parse_scrape(line + rest, "m").requests == 3


def test_sums_of_six_digits_are_read():
    text = ':tensorflow:serving:request_latency_sum{model_name="m",API="predict",entrypoint="REST"} 1.23457e+08\n'
    assert parse_scrape(text, "m").request_us == 123_457_000


def test_no_text_is_a_server_that_counted_nothing():
    assert parse_scrape("", "m") == Scrape()


@pytest.mark.parametrize(
    "text",
    [
        "<html>no</html>\n",
        '{"error": "not found"}',
        "hello",
        ':tensorflow:serving:request_latency_count{model_name="m",API="predict",entrypoint="REST"} NaN\n',
    ],
)
def test_text_that_is_no_metrics_is_refused(text):
    with pytest.raises(ServerAnswerError, match="metrics"):
        parse_scrape(text, "m")
