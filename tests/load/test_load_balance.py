"""A load that several addresses share: who gets what, what a dead address costs, addresses that change meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest
from load_servers import Server

from serving_ctl.cli import main
from serving_ctl.errors import Exit, LoadError
from serving_ctl.load.balance import names
from serving_ctl.load.client import MOST_PENDING
from serving_ctl.load.pool import Control, run_load
from serving_ctl.load.wire import parse_url
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Tick, Warmup

Serve = Callable[..., Server]
Load = Callable[..., LoadResult]


def name_of(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def dead() -> str:
    """A URL where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}/"


def test_clients_take_addresses_in_turn_and_stay(serve: Serve, load: Load) -> None:
    first, second = serve(), serve()
    result = load(first.url, also=(second.url,), clients=4, requests=80, warmup=Warmup(requests=4, seconds=0))
    assert (first.connections, second.connections) == (2, 2), "of the warm-up, and kept"
    assert result.addresses.keys() == {name_of(first), name_of(second)}
    assert all(result.addresses.values()), "both were sent some"
    assert sum(result.addresses.values()) == result.requests == result.client.sent == 80, "the warm-up is not counted"
    assert not result.errors


def test_each_address_is_asked_in_its_own_words(serve: Serve, load: Load) -> None:
    heads: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    server = serve(note)
    result = load(
        f"http://127.0.0.1:{server.port}/a", also=(f"http://localhost:{server.port}/b",), clients=2, method="GET"
    )
    assert {tuple(head.split(b"\r\n")[:2]) for head in heads} == {
        (b"GET /a HTTP/1.1", b"Host: 127.0.0.1:%d" % server.port),
        (b"GET /b HTTP/1.1", b"Host: localhost:%d" % server.port),
    }
    assert result.addresses.keys() == {name_of(server), f"localhost:{server.port}"}


def test_dead_address_costs_one_failure_a_client(serve: Serve, load: Load, dead: str) -> None:
    alive = serve()
    result = load(alive.url, also=(dead,), clients=4, requests=40)
    (kind, error), *others = result.errors.items()
    name = parse_url(dead).authority
    assert (kind, error.count, others) == ("connect refused", 2, [])
    assert error.example.startswith(f"{name}: ")
    assert (result.requests, result.client.sent) == (38, 40), "what failed is not sent again"
    assert result.addresses == {name_of(alive): 38, name: 2}


def test_an_error_answer_names_its_address_and_the_client_stays(serve: Serve, load: Load) -> None:
    good, bad = serve(), serve(answers=b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
    result = load(good.url, also=(bad.url,), clients=2, requests=20)
    assert result.errors["5xx"].example == f"{name_of(bad)}: HTTP 503: busy"
    assert result.errors["5xx"].count == result.addresses[name_of(bad)]
    assert bad.connections == 1


def test_load_processes_go_on_in_the_turn(serve: Serve, load: Load) -> None:
    servers = [serve(), serve(), serve()]
    result = load(servers[0].url, also=tuple(one.url for one in servers[1:]), clients=3, processes=2, requests=30)
    assert [server.connections for server in servers] == [1, 1, 1]
    assert sum(result.addresses.values()) == 30


def test_addresses_that_change_are_followed(serve: Serve) -> None:
    old, stays, new = serve(), serve(), serve()
    control = Control()

    def change(tick: Tick) -> None:
        if new.bodies:
            control.skip()
        elif tick.requests:
            control.redirect((stays.url, new.url))

    spec = LoadSpec(url=old.url, also=(stays.url,), clients=4, tick_s=0.02, stop=StopRule(seconds=30, max_seconds=30))
    result = asyncio.run(run_load(spec, on_tick=change, control=control))
    assert not result.errors
    assert result.addresses == {name_of(one): len(one.bodies) for one in (old, stays, new)}
    assert (old.connections, stays.connections, new.connections) == (2, 2, 2)


def test_a_failure_names_the_address_that_it_happened_at(serve: Serve) -> None:
    moved = threading.Event()

    async def until_moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        old.bodies.append(b"")
        await asyncio.to_thread(moved.wait, 10)

    old, new = serve(until_moved), serve()
    control = Control()

    def change(tick: Tick) -> None:
        if new.bodies:
            control.skip()
        elif moved.is_set():
            return
        elif old.bodies:
            control.redirect((new.url,))
            # By the end of its answer to this the load process has carried out what it was told before.
            control.change_clients(1)
        if tick.in_flight == 2:
            moved.set()

    spec = LoadSpec(url=old.url, movable=True, tick_s=0.02, stop=StopRule(seconds=30, max_seconds=30))
    result = asyncio.run(run_load(spec, on_tick=change, control=control))
    assert result.errors["reset"].example.startswith(f"{name_of(old)}: ")
    assert result.addresses[name_of(old)] == 1


def test_clients_that_wait_for_a_connect_go_where_the_load_has_moved(serve: Serve) -> None:
    heads: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    new, control = serve(note), Control()

    def change(tick: Tick) -> None:
        if not heads:
            control.redirect((f"http://127.0.0.1:{new.port}/new",))
        elif tick.errors >= MOST_PENDING:
            control.skip()

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        url = f"http://127.0.0.1:{full.getsockname()[1]}/old"
        stop = StopRule(seconds=30, max_seconds=30)
        spec = LoadSpec(
            url=url, movable=True, method="GET", clients=MOST_PENDING + 5, tick_s=0.05, timeout_s=0.5, stop=stop
        )
        result = asyncio.run(run_load(spec, on_tick=change, control=control))
    assert {head.split()[1] for head in heads} == {b"/new"}
    assert result.addresses == {parse_url(url).authority: MOST_PENDING, name_of(new): len(heads)}


def test_a_new_address_that_cannot_be_used_ends_the_load(serve: Serve) -> None:
    server, control = serve(), Control()

    async def change() -> None:
        control.redirect(("http://[",))

    spec = LoadSpec(url=server.url, movable=True, stop=StopRule(seconds=30, max_seconds=30))
    with pytest.raises(LoadError, match="not a URL"):
        asyncio.run(run_load(spec, on_warm=change, control=control))


def test_open_loop_is_shared_too(serve: Serve, load: Load) -> None:
    first, second = serve(), serve()
    result = load(first.url, also=(second.url,), clients=2, rate_rps=200.0, requests=20)
    assert sum(result.addresses.values()) == result.requests == 20
    assert all(result.addresses[name_of(server)] for server in (first, second))


def test_names_say_as_much_as_is_needed() -> None:
    assert names([parse_url("http://a:1/x"), parse_url("http://b/y")]) == ["a:1", "b"]
    assert names([parse_url("http://a/x"), parse_url("http://a/y")]) == ["a/x", "a/y"]
    with pytest.raises(LoadError, match="all http:// or all https://"):
        names([parse_url("http://a/"), parse_url("https://a/")])


def test_load_command_takes_several_urls(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = serve(), serve()
    assert main(["load", first.url, second.url, "-c", "2", "-n", "12"]) == Exit.DONE
    assert f"sent to {name_of(first)} " in capsys.readouterr().out
    assert main(["load", first.url, "https://127.0.0.1/"]) == Exit.USAGE
