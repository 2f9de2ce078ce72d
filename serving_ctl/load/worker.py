"""The load process: a spec and commands as JSON lines on stdin, ticks and the result as JSON lines on stdout.

Started by ``pool`` as ``python -m serving_ctl.load.worker PARENT_PID``. It ends with its parent: at the end of stdin
at the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import msgspec
import uvloop

from serving_ctl.errors import LoadError
from serving_ctl.load import limits
from serving_ctl.load.session import Session
from serving_ctl.load.work import Action, Command, Failed, LoadResult, LoadSpec, Ready, Tick

_STDOUT = 1


def main(parent: int) -> int:
    """Run one spec; returns the exit code."""
    limits.die_with_parent(parent)
    # Ctrl-C reaches the whole process group; what it means is the parent's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())
    except LoadError as error:
        _send(Failed(text=str(error)))
        return 1
    return 0


async def _serve() -> None:
    lines = await _stdin()
    spec = msgspec.json.decode(await lines.readline(), type=LoadSpec)
    limits.raise_file_limit(spec.clients)
    go = asyncio.Event()

    async def ready() -> None:
        _send(Ready())
        await go.wait()

    session = Session(spec, _send_tick, ready)
    running = asyncio.create_task(session.run())
    commands = asyncio.create_task(_obey(lines, session, go))
    await asyncio.wait((running, commands), return_when=asyncio.FIRST_COMPLETED)
    if commands.done():
        commands.result()  # raises: an address to go on with that cannot be used
    commands.cancel()
    _send(running.result())


async def _stdin() -> asyncio.StreamReader:
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


async def _obey(lines: asyncio.StreamReader, session: Session, go: asyncio.Event) -> None:
    """Carry out commands until stdin ends, which means that the parent is gone."""
    while line := await lines.readline():
        command = msgspec.json.decode(line, type=Command)
        match command.action:
            case Action.GO:
                go.set()
            case Action.PAUSE:
                session.pause()
            case Action.RESUME:
                session.resume()
            case Action.SKIP:
                session.skip()
            case Action.CLIENTS:
                session.change_clients(command.change)
            case Action.REDIRECT:
                session.redirect(command.urls)
    os._exit(1)


def _send_tick(tick: Tick) -> None:
    """Write a tick, or let it go when the parent is slow to read: the measurement does not wait for it."""
    os.set_blocking(_STDOUT, False)
    with contextlib.suppress(BlockingIOError):
        # A pipe takes a line this short whole or not at all (PIPE_BUF).
        os.write(_STDOUT, msgspec.json.encode(tick) + b"\n")


def _send(message: Ready | Failed | LoadResult) -> None:
    os.set_blocking(_STDOUT, True)
    line = memoryview(msgspec.json.encode(message) + b"\n")
    while line:
        line = line[os.write(_STDOUT, line) :]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
