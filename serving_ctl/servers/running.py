"""What every running server can be asked, whatever runs it: process, container or somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving_ctl.servers.record import Record


@dataclass(frozen=True)
class Ending:
    """How a server ended; ``code`` is None when only its parent could know it, negative for a signal."""

    code: int | None
    out_of_memory: bool = False
    removed: bool = False
    """The container is no longer there."""


@dataclass(frozen=True)
class Usage:
    """What a server's processes use together: 100 % is one core, MB are 10⁶ bytes, resident."""

    cpu_percent: float
    memory_mb: float
    processes: int
    waiting: int | None = None
    """Connections the kernel has taken and the server has not; None where that cannot be seen."""
    received_mb_s: float | None = None
    """Through its networks; known for a container that is not on the host's."""
    sent_mb_s: float | None = None


class Running(Protocol):
    """A server that was started or adopted."""

    record: Record

    @property
    def log_file(self) -> Path | None:
        """Where it writes, when that is a file."""

    async def ended(self) -> Ending | None:
        """How it ended, or None while it runs; cheap, no HTTP."""

    async def owns_port(self) -> bool:
        """Whether it is this server that listens on its port, not one that took the port meanwhile."""

    async def trouble(self) -> str:
        """Why it is alive but not well, or an empty string; cheap, no HTTP."""

    async def version(self) -> str:
        """Its version in its own words, else "?"."""

    async def stop(self, grace_s: float) -> None:
        """End it and all that belongs to it, hard after ``grace_s``."""

    async def sample(self) -> Usage | None:
        """Usage since the last call; None when there is none to tell."""

    async def used(self) -> tuple[float, float] | None:
        """CPU seconds since it started and memory in MB now; None when it cannot be seen."""

    async def log_tail(self, lines: int) -> list[str]:
        """The last lines it wrote, without ANSI codes."""

    def release(self) -> None:
        """Leave it running when we end."""
