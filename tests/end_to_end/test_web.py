"""``tfserve-tui web``: the UI in headless Chromium, what its page may load, and who may drive it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import aiohttp.web
import httpx
import pytest

from tui.web.server import PageServer

WAIT_S = 120.0
SIZE = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
# textual-serve's script keeps its terminal to itself; what is assigned to `_core` of any object is caught to find it.
FIND_TERMINAL = """
Object.defineProperty(Object.prototype, "_core", {configurable: true, set(core) {
  Object.defineProperty(this, "_core", {value: core, writable: true, configurable: true, enumerable: true});
  (window.cores ??= []).push(this);
}});
"""
READ_TERMINAL = """(() => {
  const terminal = (window.cores ?? []).find((one) => one.buffer?.active && one.rows);
  const line = (y) => terminal.buffer.active.getLine(y)?.translateToString(true) ?? "";
  return terminal ? [...Array(terminal.rows).keys()].map(line).join("\\n") : "";
})()"""


class Web:
    """``tfserve-tui web`` on a free port."""

    def __init__(self, home: Any, *options: str) -> None:
        self.process = subprocess.Popen(
            [*home.command, *options, "web", "--port", "0"],
            cwd=home.folder,
            env=home.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    @property
    def host(self) -> str:
        """Its name and port."""
        return urlsplit(self.address).netloc

    def end(self) -> tuple[int, str, str]:
        """Ctrl-C; exit code and what it wrote."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, err


@pytest.fixture
def web(home) -> Iterator[Web]:
    """It runs, and ends with the test."""
    web = Web(home)
    with web.process:  # closes its pipes
        yield web
        if web.process.poll() is None:
            web.end()


class Page:
    """One page of Chromium, by the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self.asked: list[str] = []
        """Every URL that it asked for."""

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and give its result; what the page tells in between is heard too."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=WAIT_S)
            if message.get("method") == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
            elif message.get("method") == "Network.webSocketCreated":
                self.asked.append(message["params"]["url"])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    async def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives there."""
        return (await self.do("Runtime.evaluate", expression=expression))["result"].get("value")

    async def press(self, key: str) -> None:
        """One letter or digit on the keyboard."""
        code = ord(key.upper())
        await self.do("Input.dispatchKeyEvent", type="keyDown", key=key, text=key, windowsVirtualKeyCode=code)
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def wait_for(self, *words: str, seen: str = READ_TERMINAL) -> str:
        """The terminal's text once it shows all ``words``."""
        text = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while True:
                    text = await self.value(seen) or ""
                    if all(word in text for word in words):
                        return text
                    await asyncio.sleep(0.1)
        pytest.fail(f"no {words} on:\n{text}")


@pytest.fixture
def browser(chromium: str, home, tmp_path: Path) -> Iterator[str]:
    """The WebSocket of an empty page in a headless browser."""
    folder = tmp_path / "browser"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [chromium, *flags, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    chosen = folder / "DevToolsActivePort"
    home.until(lambda: chosen.exists() and chosen.read_text().count("\n") > 0, "no browser")
    targets = httpx.get(f"http://127.0.0.1:{chosen.read_text().split()[0]}/json/list").json()
    yield next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
    process.terminate()
    process.wait(WAIT_S)


def test_a_page_runs_smoke_and_shows_its_table(home, web, browser) -> None:
    """The UI opens in a browser without anything from elsewhere; `0` measures, Ctrl-C on the command ends it all."""

    async def look() -> None:
        async with aiohttp.ClientSession() as client, client.ws_connect(browser, max_msg_size=0) as socket:
            page = Page(socket)
            await page.do("Network.enable")
            await page.do("Page.enable")
            await page.do("Emulation.setDeviceMetricsOverride", **SIZE)
            await page.do("Page.addScriptToEvaluateOnNewDocument", source=FIND_TERMINAL)
            await page.do("Page.navigate", url=web.address)
            await page.wait_for("batch-small", "STOPPED")
            await page.press("0")
            shown = await page.wait_for("done in", "8 cells")
            assert len(re.findall(r"^.* (1|10) +[\d.]+ +[\d.]+ ", shown, re.MULTILINE)) >= 2, shown
            assert page.asked
            assert {urlsplit(url).netloc for url in page.asked if not url.startswith("data:")} == {web.host}
            ended = asyncio.create_task(asyncio.to_thread(web.end))
            await page.wait_for("session has ended", seen="document.body.innerText")
            code, out, err = await ended
            assert (code, out) == (130, "")
            assert "Traceback" not in err

    asyncio.run(look())
    assert home.processes() == [], "left running by `web`"


def test_only_its_own_page_may_drive_it(home, web) -> None:
    """Another site's page is refused by Origin, a name that such a site points here by Host.

    An app ends when its page is left, and when the web server is killed.
    """

    async def drive() -> None:
        url = urljoin(web.address, "ws").replace("http", "ws")
        async with aiohttp.ClientSession() as client:
            for headers in (
                {},
                {"Origin": "http://evil.example"},
                {"Origin": "http://127.0.0.1:1"},
                {"Origin": "null"},
                {"Origin": "http://evil.example", "Host": "evil.example"},
            ):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.ws_connect(url, headers=headers)
                assert refused.value.status == 403
            async with client.get(web.address, headers={"Host": "evil.example"}) as answer:
                assert answer.status == 403
            apps = _apps(home, web)
            assert apps() == []
            own = {"Origin": f"http://{web.host}"}
            for killed in (False, True):
                async with client.ws_connect(url, headers=own) as socket:
                    assert b"\x1b[?1049h" in await socket.receive_bytes(timeout=WAIT_S)
                    assert len(apps()) == 1
                    if killed:
                        web.process.kill()
                        await asyncio.to_thread(web.process.wait)
                await asyncio.to_thread(home.until, lambda: not apps(), "the app outlives its page")

    asyncio.run(drive())


def test_a_page_that_waits_for_the_app_before_it_gets_none_at_the_end(tmp_path: Path) -> None:
    """Ctrl-C while a page is loaded again: its app, not yet begun, is not begun any more."""
    begun, left, may_end = (tmp_path / name for name in ("begun", "left", "may_end"))
    app = (
        "import pathlib, sys, time; begun, left, may_end = map(pathlib.Path, sys.argv[1:])\n"
        "begun.open('a').write('app '); sys.stdout.buffer.write(b'__GANGLION__\\n'); sys.stdout.flush()\n"
        "sys.stdin.read(); left.touch()\n"
        "while not may_end.exists(): time.sleep(0.02)\n"
    )

    async def leave() -> None:
        page = PageServer([sys.executable, "-c", app, str(begun), str(left), str(may_end)], "127.0.0.1")
        served = page.application()
        runner = aiohttp.web.AppRunner(served)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        host = f"127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(headers={"Origin": f"http://{host}"}) as client, asyncio.timeout(WAIT_S):
            async with client.ws_connect(f"http://{host}/ws"):
                while not begun.exists():  # noqa: ASYNC110 - a fact of another process
                    await asyncio.sleep(0.02)
            while not left.exists():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
            async with client.ws_connect(f"http://{host}/ws") as again:
                ending = asyncio.create_task(page.on_shutdown(served))
                await asyncio.sleep(0)  # it has begun
                may_end.touch()
                assert (await again.receive()).type is aiohttp.WSMsgType.CLOSE
            await ending
        await runner.cleanup()

    asyncio.run(leave())
    assert begun.read_text() == "app "


def test_its_page_and_what_it_loads_name_no_other_host(web) -> None:
    """Every address in the page, its style sheets and our script is relative, and the policy forbids any other."""
    reference = re.compile(r"""(?:src|href)\s*=\s*["']([^"']+)|url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")

    async def follow() -> set[str]:
        waiting, seen = [web.address], set()
        async with aiohttp.ClientSession() as client:
            while waiting:
                seen.add(url := waiting.pop())
                async with client.get(url) as answer:
                    assert answer.status == 200, url
                    policy = answer.headers["Content-Security-Policy"]
                    assert "default-src 'none'" in policy
                    assert set(re.findall(r"[a-z]+://([^ ;]+)", policy)) == {web.host}
                    if answer.content_type not in {"text/html", "text/css"}:
                        continue
                    text = await answer.text()
                for found in map("".join, reference.findall(text)):
                    assert urlsplit(found).netloc == "", f"{url} loads {found}"
                    target = urljoin(url, found)
                    waiting += [target] if target not in seen and not found.startswith("data:") else []
        return seen

    paths = {urlsplit(url).path for url in asyncio.run(follow())}
    assert {"/", "/page/start.js", "/page/page.css", "/static/js/textual.js", "/static/css/xterm.css"} <= paths


def test_a_taken_port_is_a_sentence(home, web) -> None:
    done = home.run("web", "--port", web.host.rpartition(":")[2])
    assert (done.returncode, done.stdout) == (3, "")
    assert "is taken" in done.stderr
    assert "--port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _apps(home, web: Web) -> Callable[[], list[int]]:
    """The processes of the home but for the web server itself."""
    return lambda: [process.pid for process in home.processes() if process.pid != web.process.pid]
