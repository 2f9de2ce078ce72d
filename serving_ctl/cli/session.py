"""What every command shares: an engine of the settings, cancellation by signal, stdout for data, stderr for talk."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from serving_ctl.config import FLASK, TF_SERVING, load_settings
from serving_ctl.errors import ConfigError, Exit
from serving_ctl.events import Event, ServerChanged, ServerState

if TYPE_CHECKING:
    from serving_ctl.engine import Engine

T = TypeVar("T")
SERVERS = (TF_SERVING, FLASK)
RUNTIMES = ("auto", "docker", "swarm", "native", "embedded", "external")
CLUSTER_HELP = "Load from a Dask cluster: tcp://HOST:8786, tls://HOST:8786, ssh:HOST,HOST or local:N."
SIGNAL_EXITS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Interrupted(Exception):
    """A signal ended the command after it had cleaned up."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.exit_code = SIGNAL_EXITS[number]


class StateTalk:
    """Says each change of a server on stderr, once."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Say ``event`` if it is news of a server; that one has not been started is no news."""
        if isinstance(event, ServerChanged) and (event.server in self._said or event.state is not ServerState.STOPPED):
            line = server_line(event)
            if self._said.get(event.server) != line:
                self._said[event.server] = line
                say(line)


def with_engine(
    config: Path | None, work: Callable[[Engine], Awaitable[int]], emit: Callable[[Event], None] = lambda event: None
) -> int:
    """Run ``work`` with an engine of the settings; a signal cancels it and it cleans up first."""
    settings = load_settings(config)

    async def session() -> int:
        from serving_ctl.engine import Engine

        engine = Engine(settings, emit)
        try:
            return await work(engine)
        except BaseExceptionGroup as failures:
            raise _first_cause(failures) from None
        finally:
            await engine.close(stop_servers=False)

    return run_async(session())


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in which SIGINT and SIGTERM cancel the work. Raises Interrupted then."""
    received: list[signal.Signals] = []

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def cancel(number: signal.Signals) -> None:
            received.append(number)
            task.cancel()

        for number in SIGNAL_EXITS:
            loop.add_signal_handler(number, cancel, number)
        return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise Interrupted(received[0] if received else signal.SIGINT) from None


def _first_cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    from serving_ctl.engine import first_cause

    return first_cause(failures)


def require_model(engine: Engine, servers: Sequence[str] = ()) -> None:
    """Raise ConfigError when we would have to serve a model on ``servers`` (all targets) that is not there."""
    if problem := engine.model_problem(servers):
        raise ConfigError(problem)


def named(engine: Engine, servers: Sequence[str], otherwise: Sequence[str]) -> tuple[str, ...]:
    """``servers`` as the user named them, else ``otherwise``. Raises ConfigError for a name that no server has."""
    for server in servers:
        engine.settings.server(server)
    return tuple(dict.fromkeys(servers or otherwise))


def server_line(state: ServerChanged) -> str:
    """One line of a server's state for people."""
    version = state.version if state.version != "?" else ""
    words = [f"{state.server}: {state.state}", state.label, version, ", ".join(state.addresses) or state.url]
    line = "  ".join(word for word in words if word)
    return f"{line}  ({state.detail})" if state.detail else line


def print_data(value: Any) -> None:
    """Write ``value`` to stdout: text as it is, anything else as indented JSON."""
    if isinstance(value, str):
        click.echo(value)
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def say(text: str) -> None:
    """Write ``text`` to stderr."""
    click.echo(text, err=True)
