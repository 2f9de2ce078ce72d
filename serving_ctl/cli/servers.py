"""Commands about the servers: up, down, status, metadata, logs, doctor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from serving_ctl import formatting
from serving_ctl.cli.parts import CPU_WINDOW_S
from serving_ctl.cli.session import (
    RUNTIMES,
    SERVERS,
    StateTalk,
    named,
    print_data,
    require_model,
    say,
    server_line,
    with_engine,
)
from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ConfigError, Exit, ServerStartError
from serving_ctl.events import Event, ServerSampled, ServerState

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


ALIVE = {ServerState.READY, ServerState.DEGRADED}


def _server_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("servers", nargs=-1, metavar="[tf-serving] [flask] [ENDPOINT]...")(command)


@click.command()
@_server_arguments
@click.option("--runtime", type=click.Choice(RUNTIMES), help="How tf-serving is run [default: settings].")
@click.option("--pull", is_flag=True, help="Let docker pull the image when it is absent.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds until each server must be ready.")
@click.option("--restart", is_flag=True, help="Stop first what runs already; a Swarm service is updated in place.")
@click.option("--print-command", is_flag=True, help="Print the `docker run` line of tf-serving and start nothing.")
@click.pass_obj
def up(
    config: Path | None,
    servers: tuple[str, ...],
    runtime: str | None,
    pull: bool,
    timeout: float | None,
    restart: bool,
    print_command: bool,
) -> int:
    """Start servers and wait until they predict; without a name all that a run measures."""

    async def start(engine: Engine, server: str) -> None:
        begin = engine.restart if restart else engine.start
        own = runtime if server == TF_SERVING else None
        await begin(server, runtime=own, pull=pull, timeout_s=timeout)

    async def work(engine: Engine) -> int:
        await engine.open()
        if print_command:
            print_data(engine.parts.docker_command())
            kind = runtime or engine.settings.tf_serving.runtime
            if kind != "docker":
                say(f"This is what such a start would be as docker; [tf-serving] runtime is {kind}.")
            return Exit.DONE
        wanted = named(engine, servers, engine.targets)
        require_model(engine, wanted)
        async with asyncio.TaskGroup() as group:
            for server in wanted:
                group.create_task(start(engine, server))
        for server in wanted:
            click.echo(server_line(engine.current(server)))
        return Exit.DONE

    return with_engine(config, work, StateTalk())


@click.command()
@_server_arguments
@click.pass_obj
def down(config: Path | None, servers: tuple[str, ...]) -> int:
    """Stop one or both servers; stopping what is stopped is fine."""

    async def work(engine: Engine) -> int:
        await engine.open()
        for server in named(engine, servers, SERVERS):
            if engine.is_external(server):
                click.echo(f"{server}: left as it is: somebody else runs it")
                continue
            await engine.stop(server)
            click.echo(server_line(engine.current(server)))
        return Exit.DONE

    return with_engine(config, work)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(config: Path | None, as_json: bool) -> int:
    """Say which servers run and what they use; exit code 3 unless all that a run measures are ready."""
    usage: dict[str, ServerSampled] = {}

    def hear(event: Event) -> None:
        if isinstance(event, ServerSampled):
            usage[event.server] = event

    async def work(engine: Engine) -> int:
        await engine.open()
        await engine.ask_external()
        await engine.sample()
        if any(engine.current(server).state in ALIVE for server in engine.servers if not engine.is_external(server)):
            await asyncio.sleep(CPU_WINDOW_S)
            await engine.sample()
        states = [engine.current(server) for server in engine.servers]
        if as_json:
            print_data([msgspec.to_builtins(state) | {"usage": usage.get(state.server)} for state in states])
        else:
            print_data("\n".join(server_line(state) + _usage_words(usage.get(state.server)) for state in states))
        ready = {state.server for state in states if state.state is ServerState.READY}
        return Exit.DONE if ready.issuperset(engine.targets) else Exit.NOT_STARTED

    return with_engine(config, work, hear)


def _usage_words(usage: ServerSampled | None) -> str:
    if usage is None:
        return ""
    processes = "1 process" if usage.processes == 1 else f"{usage.processes} processes"
    return f"  {formatting.percent(usage.cpu_percent)} CPU, {formatting.memory(usage.memory_mb)}, {processes}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the metadata documents.")
@click.pass_obj
def metadata(config: Path | None, as_json: bool) -> int:
    """Show what the running servers serve: versions, signatures, types and shapes."""

    async def work(engine: Engine) -> int:
        await engine.open()
        await engine.ask_external()
        running = [server for server in engine.servers if engine.current(server).url]
        if not running:
            raise ServerStartError("No server is running; start them with `tfserve-tui up`.")
        documents = {server: await engine.metadata(server) for server in running}
        if as_json:
            print_data(documents)
            return Exit.DONE
        for server, document in documents.items():
            versions = await engine.model_status(server)
            states = ", ".join(f"version {version.version} {version.state}" for version in versions)
            click.echo(f"{server} ({engine.current(server).label}): {states}")
            click.echo("\n".join(_signature_lines(document)))
        return Exit.DONE

    return with_engine(config, work)


@click.command()
@click.argument("server", metavar="tf-serving|flask")
@click.option("--lines", type=click.IntRange(min=1), default=200, show_default=True, help="How many.")
@click.option("--follow", is_flag=True, help="Print new lines as they come, until Ctrl-C.")
@click.pass_obj
def logs(config: Path | None, server: str, lines: int, follow: bool) -> int:
    """Print the newest lines of a server's log."""

    async def work(engine: Engine) -> int:
        await engine.open()
        named(engine, (server,), ())
        if engine.is_external(server):
            raise ConfigError(f"{server}'s log cannot be read from here: somebody else runs it.")
        found = await engine.log_tail(server, lines)
        for line in found:
            click.echo(line)
        if not found:
            say(_no_log(server, engine.current(server).state))
        if follow:
            async for new in engine.follow_log(server):
                click.echo(new.text)
        return Exit.DONE

    return with_engine(config, work)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(config: Path | None, as_json: bool) -> int:
    """Look at everything a start needs and say what would fail and how to mend it; exit code 3 then."""

    async def work(engine: Engine) -> int:
        await engine.open()
        findings = await engine.examine()
        marks = {"ok": "✓", "warn": "!", "fail": "✗"}
        lines = [f"{marks[f.mark]} {f.key}: {f.text}" + (f" – {f.fix}" if f.fix else "") for f in findings]
        print_data(findings if as_json else "\n".join(lines))
        return Exit.NOT_STARTED if any(finding.mark == "fail" for finding in findings) else Exit.DONE

    return with_engine(config, work)


def _no_log(server: str, state: ServerState) -> str:
    if state is ServerState.STOPPED:
        return f"{server} has no log: it has not been started here yet; `tfserve-tui up {server}` does it."
    return f"{server} has written nothing that can be read from here."


def _signature_lines(document: dict[str, Any]) -> list[str]:
    from serving_ctl.engine import parse_model

    lines = []
    for signature in parse_model(document).signatures:
        lines.append(f"  {signature.name}  ({signature.method})")
        for arrow, tensors in (("in ", signature.inputs), ("out", signature.outputs)):
            lines += [
                f"    {arrow} {t.name}: {t.dtype} {list(t.shape) if t.shape is not None else '?'}" for t in tensors
            ]
    return lines
