"""A server that somebody else runs: asked with its headers, base path and TLS, never stopped."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from places import Place, probe
from standin_server import Script, make_handler

from serving_ctl.errors import ConfigError, ServerStartError
from serving_ctl.events import ServerState, encode_event

NAME = "tf-serving"
SECRET = "Bearer not-for-anybody"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The authority's certificate, which nobody trusts yet; and the server's own with its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "authority.pem", folder / "server.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(files[0])
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(files[1])
    return files


@pytest.fixture
def https_server(place: Place, certificate: tuple[Path, Path]) -> Iterator[str]:
    """The stand-in behind TLS and a base path, for who knows the secret; its URL."""
    handler = guarded(make_handler("m", Script(place.model)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1])
    # The handshake is the handler's thread's: a client that goes away in the middle of it holds up nobody else.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that trusts it not goes away
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_port}/team/serving"
    server.shutdown()
    thread.join()
    server.server_close()


def guarded(handler: type[BaseHTTPRequestHandler]) -> type[BaseHTTPRequestHandler]:
    """``handler`` below /team/serving, for requests with the secret."""

    class Guarded(handler):  # type: ignore[valid-type,misc]
        timeout = 20

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if self.headers["Authorization"] != SECRET:
                self.send_error(401)
                return False
            self.path = self.path.removeprefix("/team/serving")
            return True

    return Guarded


def test_base_path_headers_and_tls(
    place: Place, https_server: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("SERVING_TOKEN", SECRET)

    async def scenario() -> None:
        fleet = place.fleet("external", url=f"{https_server}/", headers={"Authorization": "env:SERVING_TOKEN"})
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.url, ready.label, ready.ours) == (https_server, "external", False)
        assert ready.cold_ms is not None
        assert (await fleet.prove(NAME, probe)).state is ServerState.READY
        await fleet.close()

    asyncio.run(scenario())
    assert place.states() == ["starting", "ready"]
    told = b"".join(map(encode_event, place.events))
    kept = b"".join(path.read_bytes() for path in place.state.rglob("*") if path.is_file())
    assert SECRET.encode() not in told + kept


def test_certificate_of_nobody_is_not_trusted(place: Place, https_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_TOKEN", SECRET)
    text = failure(place, url=https_server, headers={"Authorization": "env:SERVING_TOKEN"})
    assert "CERTIFICATE_VERIFY_FAILED" in text


def test_refused_without_the_header(
    place: Place, https_server: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert "status 401" in failure(place, limit_s=3, url=https_server)  # one handshake at least, on a busy machine


def failure(place: Place, limit_s: float = 0.5, **serving: Any) -> str:
    async def scenario() -> str:
        fleet = place.fleet("external", **serving)
        with pytest.raises(ServerStartError) as caught:
            await fleet.start(NAME, probe=probe, timeout_s=limit_s)
        await fleet.close()
        return str(caught.value)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "Authorization is taken from the environment variable SERVING_TOKEN: set it."),
        ("two\nlines", "the value of Authorization cannot be sent"),
    ],
)
def test_header_that_cannot_be_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch, value: str | None, words: str
) -> None:
    monkeypatch.delenv("SERVING_TOKEN", raising=False)
    if value:
        monkeypatch.setenv("SERVING_TOKEN", value)

    async def scenario() -> None:
        fleet = place.fleet("external", url="http://127.0.0.1:9", headers={"Authorization": "env:SERVING_TOKEN"})
        with pytest.raises(ConfigError) as caught:
            await fleet.start(NAME, probe=probe)
        assert words in str(caught.value)
        assert "two" not in str(caught.value)
        await fleet.close()

    asyncio.run(scenario())


def test_several_addresses_must_all_be_available(place: Place, serving: Callable[..., str]) -> None:
    first = serving()
    second = serving(never_ready=True)
    assert f"1 of 2 wait: {second}: version 1 LOADING" in failure(place, url=(first, second))
    assert f":{place.port}/v1/models/m: " in failure(place, url=(first, f"http://127.0.0.1:{place.port}"))
    third = serving(predict_status=500)
    assert f"{third}/v1/models/m:predict: status 500" in failure(place, url=(first, third)), "each must predict"

    async def scenario() -> None:
        fleet = place.fleet("external", url=(f"{first}/", serving()))
        ready = await fleet.start(NAME, probe=probe)
        assert (ready.url, len(ready.addresses), ready.label) == (first, 2, "external, 2 addresses")
        assert ready.addresses[0] == first
        await fleet.close()

    asyncio.run(scenario())


@pytest.fixture
def serving(place: Place) -> Iterator[Callable[..., str]]:
    """``serving(**script)``: the base URL of one more stand-in in this process."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(**script: Any) -> str:
        place.script(**script)
        server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler("m", Script(place.model)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_external_server_is_asked_but_never_stopped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        fleet = place.fleet()
        await fleet.start(NAME, probe=probe)
        monkeypatch.setenv("TFSERVE_STATE_DIR", str(place.state.parent / "guest"))
        guest = place.fleet("external", url=f"http://127.0.0.1:{place.port}/")
        ready = await guest.start(NAME, probe=probe)
        assert (ready.ours, ready.label, ready.version) == (False, "external", "?")
        await guest.stop(NAME)
        assert guest.current(NAME).detail == "left running: it is not ours"
        assert (await fleet.check(NAME)).state is ServerState.READY
        await fleet.stop(NAME)
        for one in (fleet, guest):
            await one.close()

    asyncio.run(scenario())
