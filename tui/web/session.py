"""A page's app process: started without a shell, ended when the page is left. They exchange textual-serve's packets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shlex
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from aiohttp.web import WebSocketResponse
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

DRIVER = "tui.web.driver:BrowserDriver"
PRELUDE = b"__GANGLION__\n"
END_LIMIT_S = 40.0
"""How long an app may take to stop its servers; the UI gives itself less."""
WORDS_LIMIT_S = 5.0
LEAVE_SCREEN = "\x1b[?1049l\x1b[?25h"


class Session(AppService):
    """The app behind one WebSocket; ``command`` is its argv."""

    def __init__(self, command: Sequence[str], websocket: WebSocketResponse, downloads: DownloadManager) -> None:
        super().__init__(
            shlex.join(command),
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=self._close,
            download_manager=downloads,
        )
        self._argv = tuple(command)
        self._websocket = websocket

    async def stop(self) -> None:
        """Hang up and wait until the app has ended; one that does not within the limit is killed. Idempotent."""
        if self._process is None or self._task is None:
            return
        await self._download_manager.cancel_app_downloads(app_service_id=self.app_service_id)
        self.stdin.close()
        try:
            async with asyncio.timeout(END_LIMIT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._task

    async def run(self) -> None:
        """Hand on what the app draws until it ends, then what it said last."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said = asyncio.create_task(process.stderr.read())
        await self._relay(process.stdout)
        await self._show_last_words(said)
        await self._close()

    async def on_data(self, payload: bytes) -> None:
        """What the app draws; dropped when nobody looks any more."""
        with contextlib.suppress(ConnectionError):
            await super().on_data(payload)

    async def on_meta(self, data: bytes) -> None:
        """What the app asks the page to do; that it ends shows in the end of its output."""
        if json.loads(data).get("type") != "exit":
            with contextlib.suppress(ConnectionError):
                await super().on_meta(data)

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        # A session of its own: Ctrl-C on our terminal is ours to pass on.
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self._build_environment(width, height) | {"TEXTUAL_DRIVER": DRIVER},
            start_new_session=True,
        )
        self._stdin = self._process.stdin
        return self._process

    async def _relay(self, output: asyncio.StreamReader) -> None:
        """Read packets to their end: a letter for the kind, the size in 4 bytes, the payload."""
        kinds = {b"D": self.on_data, b"M": self.on_meta, b"P": self.on_packed}
        with contextlib.suppress(asyncio.IncompleteReadError):
            await output.readuntil(PRELUDE)
            while True:
                kind = await output.readexactly(1)
                size = int.from_bytes(await output.readexactly(4), "big")
                await kinds[kind](await output.readexactly(size))

    async def _show_last_words(self, said: asyncio.Task[bytes]) -> None:
        """Why an app ended by itself, or never began: on the page and in the log."""
        try:
            words = (await asyncio.wait_for(said, WORDS_LIMIT_S)).decode(errors="replace").strip()
        except TimeoutError:  # something that it started still holds its stderr
            return
        if words:
            logging.getLogger(__name__).warning("the app of a page said: %s", words)
            await self.on_data((LEAVE_SCREEN + words.replace("\n", "\r\n")).encode())

    async def _close(self) -> None:
        await self._websocket.close()
