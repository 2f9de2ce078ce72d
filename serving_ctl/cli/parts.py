"""Commands about what runs beneath the two servers: gunicorn's workers and Docker's containers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving_ctl import formatting
from serving_ctl.cli.session import StateTalk, print_data, server_line, with_engine
from serving_ctl.config import FLASK
from serving_ctl.errors import Exit, ServerStartError

if TYPE_CHECKING:
    from serving_ctl.engine import Engine
    from serving_ctl.servers.containers import ServingContainer
    from serving_ctl.servers.workers import Worker

CPU_WINDOW_S = 0.3


@click.command()
@click.option("--add", type=click.IntRange(min=1), metavar="N", help="Start N more.")
@click.option("--remove", type=click.IntRange(min=1), metavar="N", help="End N, the oldest first; one stays.")
@click.option("--replace", type=click.IntRange(min=1), metavar="PID", help="End one and let another take its place.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def workers(config: Path | None, add: int | None, remove: int | None, replace: int | None, as_json: bool) -> int:
    """List gunicorn's workers, or change them while it runs."""
    _only_one(add=add, remove=remove, replace=replace)

    async def work(engine: Engine) -> int:
        await engine.open()
        if not engine.current(FLASK).url:
            raise ServerStartError("No gunicorn is running; start it with `tfserve-tui up flask`.")
        if replace:
            await engine.parts.replace_worker(FLASK, replace)
        elif add or remove:
            await engine.parts.change_workers(FLASK, add or -(remove or 0))
        await engine.parts.workers(FLASK)
        await asyncio.sleep(CPU_WINDOW_S)
        found = await engine.parts.workers(FLASK)
        print_data(found if as_json else columns(_worker_rows(found)))
        return Exit.DONE

    return with_engine(config, work)


@click.command()
@click.option("--stop", metavar="NAME", help="Stop and remove this one, whoever started it.")
@click.option("--adopt", metavar="NAME", help="Take this one as tf-serving: watched, measured and stopped as ours.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def containers(config: Path | None, stop: str | None, adopt: str | None, as_json: bool) -> int:
    """List all TensorFlow Serving containers on the Docker engine; adopt or stop one."""
    _only_one(stop=stop, adopt=adopt)

    async def work(engine: Engine) -> int:
        await engine.open()
        if adopt:
            click.echo(server_line(await engine.parts.adopt_container(adopt)), err=as_json)
        elif stop:
            await engine.parts.stop_container(stop)
        found = await engine.parts.containers()
        print_data(found if as_json else columns(_container_rows(found)))
        return Exit.DONE

    return with_engine(config, work, StateTalk() if adopt else lambda event: None)


def _only_one(**options: object) -> None:
    """Raise UsageError when several of the options are given."""
    given = [f"--{name}" for name, value in options.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other.")


def _worker_rows(found: Sequence[Worker]) -> list[tuple[str, ...]]:
    head = ("pid", "cpu", "memory", "requests", "age")
    rows = [
        (
            str(one.pid),
            formatting.MISSING if one.cpu_percent is None else formatting.percent(one.cpu_percent),
            formatting.memory(one.memory_mb),
            formatting.count(one.requests),
            formatting.duration(time.time() - one.started_at),
        )
        for one in found
    ]
    return [head, *rows]


def _container_rows(found: Sequence[ServingContainer]) -> list[tuple[str, ...]]:
    head = ("name", "image", "status", "url", "started by")
    rows = [(one.name, one.image, one.status, one.url, one.folder or formatting.MISSING) for one in found]
    return [head, *rows]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
