"""Every way in which a server can misbehave, on a real socket: a counted error kind, never a crash or a hang."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from serving_ctl.errors import LoadError
from serving_ctl.load.work import Fault, LoadResult, StopRule

Load = Callable[..., LoadResult]
Serve = Callable[..., object]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def kinds(result: LoadResult) -> dict[str, int]:
    return {kind: error.count for kind, error in result.errors.items()}


def test_refused(load: Load) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = load(f"http://127.0.0.1:{unused.getsockname()[1]}/", requests=6, clients=3)
    assert kinds(result) == {"connect refused": 6}
    assert "refused" in result.errors["connect refused"].example
    assert result.requests == 0


def test_reset(serve: Serve, load: Load) -> None:
    async def reset(reader, writer):
        await server.request(reader)
        linger_none = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        writer.transport.abort()

    server = serve(reset)
    assert kinds(load(server.url, requests=4)) == {"reset": 4}


def test_half_closed_without_an_answer(serve: Serve, load: Load) -> None:
    async def half_close(reader, writer):
        await server.request(reader)
        writer.write_eof()
        await reader.read()

    server = serve(half_close)
    result = load(server.url, requests=4)
    assert kinds(result) == {"reset": 4}
    assert "without an answer" in result.errors["reset"].example


def test_stalled_slow_drip(serve: Serve, load: Load) -> None:
    async def drip(reader, writer):
        await server.request(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    server = serve(drip)
    result = load(server.url, requests=2, timeout_s=0.3)
    assert kinds(result) == {"read timeout": 2}
    assert "0.3 s" in result.errors["read timeout"].example


def test_no_answer_to_a_connect(load: Load) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        result = load(f"http://127.0.0.1:{full.getsockname()[1]}/", requests=8, clients=8, timeout_s=0.5)
    assert set(kinds(result)) == {"connect timeout", "read timeout"}
    assert sum(kinds(result).values()) == 8


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "closed after 2 of 9"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", "1 bytes more"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}", "the limit is"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n", "broken chunks"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "before the last chunk"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "inside the head"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "head of more than 64"),
    ],
    ids=["garbage", "truncated", "short length", "no length", "huge", "chunks", "no last chunk", "half head", "head"],
)
def test_bad_answers(serve: Serve, load: Load, answer: bytes, why: str) -> None:
    result = load(serve(answers=answer, close=True).url, requests=3)
    assert kinds(result) == {"bad body": 3}
    assert why in result.errors["bad body"].example


def test_an_endless_answer_meets_the_timeout(serve: Serve, load: Load) -> None:
    async def endless(reader, writer):
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.001)

    server = serve(endless)
    assert kinds(load(server.url, requests=2, timeout_s=0.3)) == {"read timeout": 2}


@pytest.mark.parametrize(
    ("answer", "closes"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, False),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\nTrailer: 1\r\n\r\n",
            False,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
    ],
    ids=["1xx", "chunked", "up to the close", "HTTP/1.0", "no body"],
)
def test_unusual_answers_that_are_good(serve: Serve, load: Load, answer: bytes, closes: bool) -> None:
    result = load(serve(answers=answer, close=closes).url, requests=5)
    assert (result.requests, kinds(result)) == (5, {})


def test_an_answer_in_single_bytes_is_good(serve: Serve, load: Load) -> None:
    async def trickle(reader, writer):
        while True:
            await server.request(reader)
            for byte in OK:
                writer.write(bytes([byte]))
                await writer.drain()

    server = serve(trickle)
    assert load(server.url, requests=3).requests == 3


@pytest.mark.parametrize(("status", "kind"), [(302, "3xx"), (404, "4xx"), (503, "5xx")])
def test_http_errors_keep_their_first_body(serve: Serve, load: Load, status: int, kind: str) -> None:
    text = b'{"error": "Servable not found"}'
    result = load(serve(answers=b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text)).url)
    assert kinds(result) == {kind: 6}
    assert result.errors[kind].example == f"HTTP {status}: {text.decode()}"
    assert (result.requests, result.request.n) == (0, 0)


def test_a_connection_that_the_server_closes_while_idle_is_opened_again(serve: Serve, load: Load) -> None:
    async def once(reader, writer):
        await server.request(reader)
        writer.write(OK)

    server = serve(once)
    result = load(server.url, requests=3, rate_rps=5.0)
    assert (result.requests, kinds(result)) == (3, {})
    assert result.connect.n == 3


def test_what_is_not_answered_in_the_drain_is_counted(serve: Serve, load: Load) -> None:
    async def silent(reader, writer):
        await server.request(reader)
        await reader.read()

    server = serve(silent)
    result = load(
        server.url, clients=3, stop=StopRule(requests=0, seconds=0.2, max_seconds=0.2, floor_requests=0), drain_s=0.2
    )
    assert kinds(result) == {"not finished": 3}
    assert "INCOMPLETE-DRAIN" in result.flags


def test_fast_failures_do_not_spin(load: Load) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        result = load(url, clients=1, stop=StopRule(requests=0, seconds=0.5, max_seconds=0.5, floor_requests=0))
    assert 1 <= result.errors[Fault.REFUSED].count <= 10


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://no-such-host.invalid/", "not found"),
        ("ftp://127.0.0.1/", "speaks HTTP"),
        ("http:///v1", "names no host"),
        ("http://127.0.0.1:99999/", "not a URL"),
        ("http://127.0.0.1/a b", "percent-encoded"),
    ],
)
def test_urls_that_cannot_be_used_are_explained(load: Load, url: str, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        load(url)


def test_a_body_file_that_cannot_be_read_is_explained(load: Load, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"absent\.jsonl: No such file"):
        load("http://127.0.0.1/", bodies_file=str(tmp_path / "absent.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(LoadError, match="holds no body"):
        load("http://127.0.0.1/", bodies_file=str(tmp_path / "empty.jsonl"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"clients": 0}, "0 clients"),
        ({"clients": 2, "processes": 3}, "shared by 3 processes"),
        ({"headers": (("X", "a\r\nb: c"),)}, "cannot be sent"),
        ({"method": "GET /"}, "not an HTTP method"),
        ({"clients": 10_000_000}, "10000000 clients"),
        ({"rate_rps": -1.0}, "rate"),
        ({"stop": StopRule(requests=0, seconds=0)}, "never begins"),
    ],
)
def test_specs_that_cannot_be_run_are_explained(load: Load, settings: dict[str, object], why: str) -> None:
    with pytest.raises(LoadError, match=why):
        load("http://127.0.0.1:9/", **settings)


def test_answers_nobody_asked_for_never_become_a_time(serve: Serve, load: Load) -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            writer.write(OK)
            await writer.drain()
            writer.write(OK)

    server = serve(twice)
    result = load(server.url, requests=50, clients=2)
    assert result.requests + sum(kinds(result).values()) == 50
    assert set(kinds(result)) <= {"reset", "bad body"}


def test_requests_answered_unread_stay_whole_and_in_order(serve: Serve, load: Load, tmp_path: Path) -> None:
    """A server answers at the head and reads the body afterwards: the next request waits for the end of the last."""
    size = 8_000_000
    (tmp_path / "body").write_bytes(b"b" * size)
    foreign: list[bytes] = []

    async def answer_early(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            body = await reader.readexactly(size)
            foreign.extend(text for text in (head[:5], body.strip(b"b")[:5]) if text not in (b"POST ", b""))

    result = load(serve(answer_early).url, requests=10, bodies_file=str(tmp_path / "body"), timeout_s=10.0)
    assert not foreign
    assert kinds(result) == {}
    assert result.requests == 10
