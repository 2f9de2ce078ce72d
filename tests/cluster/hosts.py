"""Hosts as network namespaces: each has a link of its own to this machine, which can be cut or made slow."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence

import pytest

TOOLS = ("ip", "iptables", "tc", "faketime")


def require_hosts() -> None:
    """Skip where this machine lacks what hosts need; in CI, where everything is installed, fail."""
    if lack := missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {lack}")


def missing() -> str:
    """What stands in the way of network namespaces here; empty when nothing does."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} (iproute2, iptables, faketime)"
    if os.geteuid() != 0:
        return "root for network namespaces"
    name = f"tfs{os.getpid()}-"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces"
    run("ip", "netns", "del", name)
    return ""


def run(*command: str) -> None:
    """Run a command; what it says goes with its failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Host:
    """Number ``number`` of this process's hosts: ``address`` is its own, ``outside`` this machine's end of its link."""

    def __init__(self, number: int) -> None:
        third = os.getpid() % 250
        self.name = f"tfs{os.getpid()}-{number}"
        self.address, self.outside = (f"10.{190 + number}.{third}.{end}" for end in (2, 1))
        self._link = f"v{os.getpid()}-{number}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "addr", "add", f"{self.outside}/30", "dev", self._link)
        run("ip", "link", "set", self._link, "up")
        for command in (
            ["ip", "addr", "add", f"{self.address}/30", "dev", "eth0"],
            ["ip", "link", "set", "eth0", "up"],
            ["ip", "link", "set", "lo", "up"],
            ["ip", "route", "add", "default", "via", self.outside],
        ):
            run(*self.inside, *command)

    @property
    def inside(self) -> Sequence[str]:
        """What a command is run by to run on this host."""
        return ("ip", "netns", "exec", self.name)

    def cut_off(self) -> None:
        """Drop every packet from and to this host."""
        for chain in ("INPUT", "OUTPUT"):
            run(*self.inside, "iptables", "-A", chain, "!", "-o" if chain == "OUTPUT" else "-i", "lo", "-j", "DROP")

    def slow_down(self, rate: str) -> None:
        """Let this host send no more than ``rate`` (tc's notation)."""
        run(
            *self.inside,
            "tc",
            "qdisc",
            "add",
            "dev",
            "eth0",
            "root",
            "tbf",
            "rate",
            rate,
            "burst",
            "16kb",
            "latency",
            "1s",
        )

    def speed_up(self) -> None:
        """As before."""
        run(*self.inside, "tc", "qdisc", "del", "dev", "eth0", "root")

    def close(self) -> None:
        """Remove the host and its link."""
        run("ip", "netns", "del", self.name)


class Relay:
    """Passes a TCP port of 127.0.0.1 on to another, every piece ``delay_s`` later, there and back."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self.to = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                self._loop.call_later(self._delay_s, sink.write, data)
        except ConnectionError:
            return
        finally:
            self._loop.call_later(self._delay_s, sink.close)

    def close(self) -> None:
        """End all connections."""

        async def end() -> None:
            self._server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(2 * self._delay_s)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
