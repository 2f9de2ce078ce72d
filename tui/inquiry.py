"""What the panes ask of the engine, with the answers as values they can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from serving_ctl.bench.progress import Progress
from serving_ctl.errors import TfServeError
from tui import keys
from tui.conductor import is_up

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What one server said of its model; or ``problem``, one sentence, when it said nothing usable."""

    server: str
    model: Any = None
    """The engine's ``ServedModel``."""
    versions: tuple[Any, ...] = ()
    """The engine's ``ModelVersion`` values, newest first; told also where the metadata is not (none is available)."""
    document: dict[str, Any] | None = None
    """The metadata as it was sent."""
    problem: str = ""


async def ask_model(engine: Engine, server: str, progress: Progress) -> Served:
    """What ``server`` serves; its problem in words when it cannot say."""
    from serving_ctl.engine import parse_model

    if not is_up(progress, server):
        return Served(server=server, problem=keys.say("not running; {toggle_servers} starts it"))
    versions: tuple[Any, ...] = ()
    try:
        versions = await engine.model_status(server)
        document = await engine.metadata(server)
        return Served(server=server, model=parse_model(document), versions=versions, document=document)
    except TfServeError as error:
        return Served(server=server, versions=versions, problem=str(error))


def not_disturbed(server: str, progress: Progress) -> Served:
    """In place of an answer while a run is on: nobody asks the servers anything inside a measured window (R11)."""
    if not is_up(progress, server):
        return Served(server=server, problem="not running yet; what is on its way now starts it")
    return Served(server=server, problem="a run is on and is not disturbed; this is asked when it has ended")


async def newest_lines(engine: Engine, server: str) -> Sequence[str]:
    """The end of the server's log; why there is none in its place."""
    try:
        return await engine.log_tail(server)
    except TfServeError as error:
        return (str(error),)
