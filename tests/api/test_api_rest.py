"""Control requests against the recorded answers of a real server, and against servers that are none."""

from __future__ import annotations

import asyncio
import socket

import pytest

from serving_ctl.api.rest import ModelClient
from serving_ctl.errors import Exit, ServerAnswerError


def ask(url: str, model: str, question, **options):
    """The result of ``question(client)``."""

    async def session():
        async with ModelClient(url, model, **options) as client:
            return await question(client)

    return asyncio.run(session())


def refusal(url: str, question, model: str = "half_plus_two", **options) -> str:
    with pytest.raises(ServerAnswerError) as caught:
        ask(url, model, question, **options)
    text = str(caught.value)
    assert url in text
    assert len(text.splitlines()) == 1
    assert len(text) < 400
    assert caught.value.exit_code is Exit.INCOMPLETE
    return text


def test_status_of_a_real_server(recorded_server):
    versions = ask(recorded_server, "half_plus_two", ModelClient.status)
    assert [(v.version, v.state, v.error) for v in versions] == [("2", "AVAILABLE", ""), ("1", "AVAILABLE", "")]


def test_a_trailing_slash_of_the_base_url_does_not_matter(recorded_server):
    assert len(ask(recorded_server + "/", "half_plus_two", ModelClient.status)) == 2


def test_metadata_of_a_real_server(recorded_server):
    document = ask(recorded_server, "text_cnn", ModelClient.metadata)
    assert document["model_spec"]["name"] == "text_cnn"


def test_predict_of_a_real_server(recorded_server):
    answer = ask(recorded_server, "half_plus_two", lambda c: c.predict(b'{"instances": [1.0, 2.0, 5.0]}'))
    assert answer == {"predictions": [3.5, 4.0, 5.5]}


def test_an_answer_may_hold_values_that_json_has_not(recorded_server):
    body = b'{"instances": [{"flag": true, "i64": 1, "u8": 1, "f64": NaN}]}'
    answer = ask(recorded_server, "kinds", lambda c: c.predict(body))
    assert answer["predictions"][0]["f64_out"] != answer["predictions"][0]["f64_out"]


def test_metrics_of_a_real_server(recorded_server):
    text = ask(recorded_server, "text_cnn", ModelClient.metrics)
    assert ":tensorflow:serving:request_latency_sum" in text


def test_the_server_s_own_words_reach_the_user(recorded_server):
    text = refusal(recorded_server, ModelClient.status, model="nope")
    assert "404" in text
    assert "Could not find any versions of model nope" in text
    bad = refusal(recorded_server, lambda c: c.predict(b'{"instances": [{"z": 1.0}]}'))
    assert "400" in bad


def test_an_html_404_says_what_it_is(serve):
    url = serve(lambda *_: (404, "text/html", b"<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD></HTML>"))
    text = refusal(url, ModelClient.status)
    assert "404" in text
    assert "not JSON" in text
    assert "TensorFlow Serving REST port" in text


def test_a_long_answer_is_cut_in_the_error(serve):
    assert "…" in refusal(serve(lambda *_: (200, "text/plain", b"word " * 10_000)), ModelClient.metadata)


@pytest.mark.parametrize("body", [b"[1, 2]", b'"text"', b"3"])
def test_json_that_is_no_object_is_refused(serve, body):
    refusal(serve(lambda *_: (200, "application/json", body)), ModelClient.metadata)
    refusal(serve(lambda *_: (500, "application/json", body)), ModelClient.metadata)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"model_version_status": null}',
        b'{"model_version_status": [1]}',
        b'{"model_version_status": [{"version": "1"}]}',
        b'{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": null}]}',
    ],
)
def test_a_status_of_another_form_is_refused(serve, body):
    text = refusal(serve(lambda *_: (200, "application/json", body)), ModelClient.status)
    assert "not a model status" in text


def test_a_server_that_refuses_connections_is_said():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        refusal(url, ModelClient.status)
        assert ask(url, "m", ModelClient.metrics) is None


def test_a_connection_closed_without_an_answer_is_said(serve):
    refusal(serve(lambda *_: None), ModelClient.status)


def test_a_server_that_never_answers_ends_with_the_time_limit():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "in time" in refusal(url, ModelClient.status, timeout_s=0.05)
        assert "in time" in refusal(url, lambda c: c.predict(b"{}", timeout_s=0.05))


def test_a_url_that_is_none_is_said():
    refusal("http://127.0.0.1:port", ModelClient.status)


def test_a_server_without_metrics_is_no_error(serve):
    url = serve(lambda *_: (404, "application/json", b'{"error": "not found"}'))
    assert ask(url, "m", ModelClient.metrics) is None


def test_a_proxy_of_the_environment_is_not_used(recorded_server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert len(ask(recorded_server, "half_plus_two", ModelClient.status)) == 2
