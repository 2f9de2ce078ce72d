"""The web server of ``tfserve-tui web``: our page, textual-serve's terminal in it, and who may talk to it.

Whoever can open the WebSocket can start processes here. A page of another site is kept out twice: by the Origin that
browsers send, and by the Host, since such a site may let its own name point to this machine.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import shlex
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, web
from aiohttp.typedefs import Handler
from textual_serve.server import Server, to_int

from serving_ctl.config import state_dir
from serving_ctl.errors import ServerStartError
from tui.web.session import Session

PAGE = Path(__file__).parent / "page"
HEARTBEAT_S = 15.0
SHUTDOWN_S = 60.0
SIZE = {"width": 80, "height": 24}
"""What a page's terminal measures when the page does not say it, in cells."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src data:; "
        "connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def serve(command: Sequence[str], host: str, port: int, opened: Callable[[str], None]) -> None:
    """Serve the app ``command`` on ``host:port`` until cancelled; then end every app process.

    ``opened`` is called once with the address. Raises ServerStartError when the port cannot be listened on.
    """
    logging.basicConfig(filename=state_dir() / "tfserve-tui.log", format="%(asctime)s %(message)s")
    runner = web.AppRunner(PageServer(command, host).application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        opened(address(runner.addresses[0]))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def address(bound: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """A socket's name as a URL."""
    host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return f"http://{host}:{bound[1]}/"


def is_our_host(host: str, names: Collection[str]) -> bool:
    """True when a Host header names this machine by an address, which no site can own, or by one of ``names``."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


def is_own_page(origin: str | None, host: str) -> bool:
    """True when the page that opens a WebSocket came from the host it is opened to."""
    return origin is not None and urlsplit(origin).netloc.lower() == host.lower()


class PageServer(Server):
    """One page, and one app process for each WebSocket that it opens."""

    def __init__(self, command: Sequence[str], host: str) -> None:
        super().__init__(shlex.join(command), host=host)
        self._argv = tuple(command)
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._sessions: set[Session] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._closing = False

    def application(self) -> web.Application:
        """The routes, with what guards them."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/", self._show_page),
                web.get("/ws", self.handle_websocket),
                web.get("/download/{key}", self.handle_download),
                web.static("/page", PAGE),
                web.static("/static", self.statics_path),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self.on_shutdown)
        return app

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run an app for the page until one of the two ends."""
        if not is_own_page(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="Only this server's own page may open its WebSocket.")
        websocket = web.WebSocketResponse(heartbeat=HEARTBEAT_S)
        await websocket.prepare(request)
        await self._wait_for_ends()
        if self._closing:
            await websocket.close(code=WSCloseCode.GOING_AWAY)
            return websocket
        session = Session(self._argv, websocket, self.download_manager)
        self._sessions.add(session)
        try:
            await session.start(*(to_int(request.query.get(name, ""), 0) or default for name, default in SIZE.items()))
            await self._process_messages(websocket, session)
        finally:
            await self._end(session)
        return websocket

    async def on_shutdown(self, app: web.Application) -> None:
        """End every app; none is started any more."""
        self._closing = True
        await asyncio.gather(*map(self._end, self._sessions))

    async def _show_page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_our_host(request.host, self._names):
            raise web.HTTPForbidden(text=f"{request.host} is no name of this machine that tfserve-tui knows.")
        return await handler(request)

    async def _end(self, session: Session) -> None:
        ending = asyncio.create_task(session.stop())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await ending
        self._sessions.discard(session)

    async def _wait_for_ends(self) -> None:
        """A page that is loaded again must not find servers that the app before it is about to stop."""
        if self._ending:
            await asyncio.wait(self._ending)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update({name: value.format(host=request.host) for name, value in HEADERS.items()})


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        what = f"port {port} on {host} is taken" if taken else f"cannot listen on {host}:{port}: {error.strerror}"
        raise ServerStartError(f"{what}; choose another with --port (0 takes a free one).") from None
