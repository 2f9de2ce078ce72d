"""Bad input and bad clients: a TF-Serving-like answer, and the server goes on."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOOD = b'{"instances": [1.0, 2.0, 5.0]}'
PATH = "/v1/models/half_plus_two:predict"


@pytest.fixture(autouse=True)
def still_serving(server: Any) -> Iterator[None]:
    yield
    assert json.loads(server.predict("half_plus_two", GOOD).body) == {"predictions": [3.5, 4.0, 5.5]}
    assert "Traceback" not in server.log


def error_of(reply: Any) -> str:
    text: str = json.loads(reply.body)["error"]
    return text


def test_deep_nesting(server: Any) -> None:
    reply = server.predict("half_plus_two", b'{"instances": ' + b"[" * 10_000 + b"1" + b"]" * 10_000 + b"}")
    assert reply.status == 400
    assert "too many dimensions" in error_of(reply)
    objects = b'{"instances": [' + b'{"x":' * 10_000 + b"1" + b"}" * 10_000 + b"]}"
    assert server.predict("half_plus_two", objects).status == 400


def test_a_body_of_100_mb(server: Any) -> None:
    rows = b"1.5," * 25_000_000
    reply = server.predict("half_plus_two", b'{"instances": ["' + rows + b'"]}')
    assert reply.status == 400
    assert len(reply.body) < 200_000
    assert "is not of expected type: float" in error_of(reply)


@pytest.mark.parametrize(
    "body",
    [b"no gzip at all", gzip.compress(GOOD)[:-6], gzip.compress(b" " * (101 << 20))],
    ids=["garbage", "cut", "bomb"],
)
def test_broken_gzip_and_bombs_count_as_empty(server: Any, body: bytes) -> None:
    reply = server.send("POST", PATH, body, {"Content-Encoding": "gzip"})
    assert reply.status == 400
    assert error_of(reply) == "JSON Parse error: The document is empty"


def test_not_http(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_client_gone_in_the_middle(server: Any) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
    for cut in (10, len(head), len(head)):
        with server.connect() as connection:
            connection.sendall((head + b'{"instances"')[: cut + 5])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert server.predict("half_plus_two", GOOD).status == 200


def test_headers_dripped_slowly_hold_up_nobody(server: Any) -> None:
    drippers = [server.connect() for _ in range(50)]
    for connection in drippers:
        connection.sendall(b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHos")
    assert server.predict("half_plus_two", GOOD).status == 200
    first = drippers[0]
    first.sendall(b"t: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
    first.sendall(GOOD)
    assert first.recv(100).startswith(b"HTTP/1.1 200")
    for connection in drippers:
        connection.close()


def test_two_requests_in_one_packet_and_an_expectation(server: Any) -> None:
    one = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(GOOD)}\r\n".encode()
    with server.connect() as connection:
        connection.sendall(one + b"\r\n" + GOOD + one + b"Connection: close\r\n\r\n" + GOOD)
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
    assert data.count(b"HTTP/1.1 200") == 2


def test_wrong_signature_kinds(server: Any) -> None:
    named = '{"signature_name": 5, "instances": [1.0]}'
    assert "'signature_name' key must be a string value." in error_of(server.predict("half_plus_two", named))
    assert "Is not object" in error_of(server.predict("half_plus_two", "[1]"))
    assert "Excepting 'instances' to be an list/array" in error_of(server.predict("half_plus_two", '{"instances": 1}'))
    init = server.predict("half_plus_two", '{"signature_name": "__saved_model_init_op", "instances": [1]}')
    assert error_of(init) == "Failed to get input map for signature: __saved_model_init_op"
    missing = server.predict("two_in_two_out", '{"inputs": {"a": [[1, 2]]}}')
    assert error_of(missing) == "Missing named input: b in 'inputs' object."


def test_what_tensorflow_refuses_is_a_400(server: Any) -> None:
    reply = server.predict("two_in_two_out", '{"instances": [{"a": 1, "b": [0.5]}]}')
    assert reply.status == 400
    assert "error" in json.loads(reply.body)


def test_examples_of_every_kind(server: Any) -> None:
    good = '{"context": {"x": 0.25}, "examples": [{}, {"x": [0.5]}]}'
    results = json.loads(server.predict("classic", good, "classify").body)["results"]
    assert results == [[["yes", 0.25], ["no", 0.75]], [["yes", 0.5], ["no", 0.5]]]
    for bad, words in {
        '{"examples": []}': "'examples' value is an empty array",
        '{"examples": 1}': "Expecting 'examples' value to be an list/array",
        '{"examples": [1]}': "Example must be JSON object but got JSON Number",
        '{"examples": [{"x": null}]}': "Feature: x has element with unexpected JSON type: Null",
        '{"examples": [{"x": [0.5, "a"]}]}': "Unexpected element type in feature: x expecting type: float",
        '{"examples": [{"x": 18446744073709551615}]}': "Feature: x has uint64 element. Only int64 is supported.",
    }.items():
        assert words in error_of(server.predict("classic", bad, "classify"))
    assert server.predict("classic", '{"examples": [{"x": "a"}]}', "classify").status == 400


MODELS = ["half_plus_two", "two_in_two_out", "text", "kinds", "fixed_batch", "half", "classic"]
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=5)
    | st.just({"b64": "AA=="})
)
KEYS = st.sampled_from(["x", "a", "b", "s", "text", "flag", "i64", "u8", "f64", "b64"])
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
TOP = st.sampled_from(["instances", "inputs", "examples", "signature_name", "context"])
CALL = st.sampled_from(["predict", "predict", "classify", "regress"])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(MODELS), CALL, st.dictionaries(TOP, VALUE, min_size=1, max_size=3), st.binary(max_size=3))
def test_fuzz(server: Any, model: str, call: str, body: dict[str, Any], noise: bytes) -> None:
    reply = server.predict(model, noise + json.dumps(body).encode(), call)
    assert reply.status in (200, 400, 404, 501), (reply.status, reply.body)
    assert b"Traceback" not in reply.body


def test_memory_stays_where_it_is(server: Any) -> None:
    process = psutil.Process(server.process.pid)

    def churn() -> None:
        for number in range(300):
            server.predict("half_plus_two", b'{"instances": [1.0, "%d"]}' % number)
            server.predict(f"no_model_{number}", GOOD)
            server.predict("text", json.dumps({"instances": ["a" * 10_000] * 3}))

    churn()
    before = process.memory_info().rss
    churn()
    churn()
    assert process.memory_info().rss - before < 30e6
