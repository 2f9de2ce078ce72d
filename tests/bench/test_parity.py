"""Rule R22: what counts as the same prediction, and the check against two real servers."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.api.rest import ModelClient
from serving_ctl.bench.parity import DifferenceError, check_parity, compare_values
from serving_ctl.errors import ServerAnswerError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(width=32) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_a_prediction_is_the_same_as_itself(value):
    assert compare_values(value, json.loads(json.dumps(value))) == 0.0


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_floats_are_the_same_within_the_rule_s_tolerance(first, second):
    near = abs(first - second) <= 1e-5 + 1e-4 * abs(second)
    try:
        difference = compare_values(first, second)
    except DifferenceError:
        assert not near
    else:
        assert near
        assert difference == abs(first - second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (math.nan, math.nan),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (1, 1.0),
        (0.0, 9.9e-6),
        (100.0, 100.009),
        ([], []),
        ({}, {}),
        ({"b64": "AA=="}, {"b64": "AA=="}),
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.00001], [3.0, 4.0]]),
        ({"label": "good", "scores": [0.5]}, {"scores": [0.5], "label": "good"}),
    ],
)
def test_the_same(first, second):
    assert compare_values(first, second) <= 0.0091


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.0, 1.2e-5),
        (100.0, 100.02),
        (1, 2),
        (10**6, 10**6 + 1),
        (True, False),
        (True, 1),
        (True, 1.0),
        (0, False),
        ("a", "b"),
        ("1", 1),
        (None, 0),
        (None, math.nan),
        ([1.0], [1.0, 2.0]),
        ([1.0], 1.0),
        ([], {}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ("AA==", {"b64": "AA=="}),
    ],
)
def test_not_the_same(first, second):
    for one, other in ((first, second), (second, first)):
        with pytest.raises(DifferenceError):
            compare_values(one, other)


@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
@pytest.mark.parametrize("other", [0.0, 1.0, math.nan, "opposite"])
def test_infinity_is_nothing_but_itself(infinite, other):
    other = -infinite if other == "opposite" else other
    for first, second in ((infinite, other), (other, infinite)):
        with pytest.raises(DifferenceError):
            compare_values(first, second)


def test_a_difference_says_where_and_how():
    first = [{"scores": [0.1, 0.9]}, {"scores": [0.2, 0.8]}]
    second = [{"scores": [0.1, 0.9]}, {"scores": [0.2, 0.7]}]
    with pytest.raises(DifferenceError, match=r"\[1\]\.scores\[1\].*0\.8.*0\.7"):
        compare_values(first, second)


def test_a_difference_is_said_in_a_line_or_two():
    with pytest.raises(DifferenceError) as caught:
        compare_values([[0.5] * 10_000], [0.5])
    assert len(str(caught.value)) < 400


class Servers:
    """Two real HTTP servers that answer every predict with a given document."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(self, status: int, document: object) -> str:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: object) -> None:
                """Keep the test's output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self._running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    def stop(self) -> None:
        for server, thread in self._running:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def servers():
    running = Servers()
    yield running
    running.stop()


def parity(*urls: str, bodies=(b"{}", b'{"a": 1}')):
    async def check():
        async with AsyncExitStack() as stack:
            clients = {f"s{n}": await stack.enter_async_context(ModelClient(url, "m")) for n, url in enumerate(urls)}
            return await check_parity(clients, bodies, timeout_s=5.0)

    return asyncio.run(check())


def test_two_servers_that_agree(servers):
    urls = [servers.start(200, {"predictions": [[0.25, score]]}) for score in (0.75, 0.750001)]
    found = parity(*urls)
    assert found.problem == ""
    assert found.bodies == 2
    assert found.difference == pytest.approx(1e-6, rel=0.01)
    assert sorted(servers.asked) == [b'{"a": 1}', b'{"a": 1}', b"{}", b"{}"]


def test_two_servers_that_agree_by_column(servers):
    urls = [servers.start(200, {"outputs": {"y": [1.0]}}) for _ in range(2)]
    assert parity(*urls).problem == ""


def test_two_servers_that_differ_say_where(servers):
    found = parity(servers.start(200, {"predictions": [1.0]}), servers.start(200, {"predictions": [2.0]}))
    assert "[0]" in found.problem


def test_of_several_each_is_held_against_the_first_and_the_one_that_differs_is_named(servers):
    urls = [servers.start(200, {"predictions": [score]}) for score in (1.0, 1.000001, 0.999999, 2.0)]
    found = parity(*urls[:3])
    assert (found.problem, found.difference) == ("", pytest.approx(1e-6, rel=0.01)), "not one against the next"
    assert parity(*urls).problem.startswith("s0 and s3: prediction[0]")


def test_other_output_names_are_a_difference(servers):
    urls = [servers.start(200, {"predictions": [{name: 1.0, "z": 1}]}) for name in ("scores", "output_0")]
    found = parity(*urls)
    assert "scores" in found.problem
    assert "output_0" in found.problem


def test_a_server_that_refuses_is_no_difference_but_an_error(servers):
    good = servers.start(200, {"predictions": [1.0]})
    with pytest.raises(ServerAnswerError, match="out of memory"):
        parity(good, servers.start(500, {"error": "out of memory"}))


def test_an_answer_without_predictions_names_the_server(servers):
    good, odd = servers.start(200, {"predictions": [1.0]}), servers.start(200, {"result": [1.0]})
    with pytest.raises(ServerAnswerError, match="result") as caught:
        parity(good, odd)
    assert odd in str(caught.value)
