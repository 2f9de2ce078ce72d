"""A server that somebody else runs: it is asked, never started, stopped or sampled."""

from __future__ import annotations

from pathlib import Path

from serving_ctl.config import Settings
from serving_ctl.servers.record import Record
from serving_ctl.servers.running import Ending, Usage
from serving_ctl.servers.spec import asked


def external_record(settings: Settings, server: str) -> Record:
    """The record of the URL in the settings."""
    url, *also = settings.server(server).urls
    return Record(
        server=server,
        runtime="external",
        label=f"external, {1 + len(also)} addresses" if also else "external",
        url=url,
        also=tuple(also),
        model="",
        asked=asked(settings, server, "external"),
    )


class ExternalServer:
    """A URL of somebody else."""

    log_file: Path | None = None

    def __init__(self, record: Record) -> None:
        self.record = record

    async def ended(self) -> Ending | None:
        """Unknown from outside, so never."""
        return None

    async def owns_port(self) -> bool:
        """Whoever answers at the URL is meant."""
        return True

    async def trouble(self) -> str:
        """Unknown from outside."""
        return ""

    async def version(self) -> str:
        """Not told by the REST API."""
        return "?"

    async def stop(self, grace_s: float) -> None:
        """Nothing: it is not ours."""
        del grace_s

    async def sample(self) -> Usage | None:
        """Nothing to sample."""
        return None

    async def used(self) -> tuple[float, float] | None:
        """Nothing that could be seen."""
        return None

    async def log_tail(self, lines: int) -> list[str]:
        """No log within reach."""
        del lines
        return []

    def release(self) -> None:
        """Nothing is held."""
