"""The command about tf-serving's Swarm service: its tasks, and how many there are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving_ctl import formatting
from serving_ctl.cli.parts import columns
from serving_ctl.cli.session import StateTalk, print_data, with_engine
from serving_ctl.config import TF_SERVING
from serving_ctl.errors import Exit, ServerStartError

if TYPE_CHECKING:
    from serving_ctl.engine import Engine
    from serving_ctl.servers.swarm_tasks import Task


@click.command()
@click.option(
    "--replicas", type=click.IntRange(min=1), metavar="N", help="Let N tasks serve, and wait until each does."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def tasks(config: Path | None, replicas: int | None, as_json: bool) -> int:
    """List the tasks of tf-serving's Docker Swarm service, or change their number while it runs."""

    async def work(engine: Engine) -> int:
        await engine.open()
        if not engine.current(TF_SERVING).url:
            raise ServerStartError(
                "No Swarm service is running; start it with `tfserve-tui up tf-serving --runtime swarm`."
            )
        if replicas:
            await engine.parts.scale(replicas)
        found = await engine.parts.tasks()
        print_data(found if as_json else columns(_rows(found)))
        return Exit.DONE

    return with_engine(config, work, StateTalk() if replicas else lambda event: None)


def _rows(found: Sequence[Task]) -> list[tuple[str, ...]]:
    head = ("task", "id", "state", "node", "address", "for", "error")
    rows = [
        (
            str(task.slot),
            task.id,
            task.state if task.wanted else f"{task.state}, replaced",
            task.node or formatting.MISSING,
            task.url or formatting.MISSING,
            formatting.duration(max(0.0, time.time() - task.since)),
            task.error,
        )
        for task in found
    ]
    return [head, *rows]
