"""Where load comes from: the ``Load`` protocol, and this machine's load processes as the one that is always there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from serving_ctl.events import Fact
from serving_ctl.load.calibrate import Calibration, calibrate
from serving_ctl.load.pool import Control, run_load
from serving_ctl.load.work import LoadResult, LoadSpec, Tick


class Load(Protocol):
    """Carries out load specs, wherever that is."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What the fairness card says about it; a fact takes the place of another with the same key."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What must be the same for two runs to be compared (R24)."""

    async def check(self, urls: Iterable[str]) -> None:
        """Raise ClusterError when one of ``urls`` cannot be reached from where the load comes from."""

    async def run(
        self,
        spec: LoadSpec,
        *,
        on_tick: Callable[[Tick], None] | None = None,
        on_warm: Callable[[], Awaitable[None]] | None = None,
        control: Control | None = None,
    ) -> LoadResult:
        """As ``run_load``. Raises LoadError, and RunIncomplete when nothing is left to carry out any further spec."""

    async def calibrate(self, spec: LoadSpec) -> Calibration:
        """What a client can do there with a server that does nothing (R12). Raises LoadError."""


class LocalLoad:
    """Load processes on this machine, ``processes`` of them sharing each spec."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self.facts: tuple[Fact, ...] = ()
        self.fingerprint: dict[str, str] = {}

    async def check(self, urls: Iterable[str]) -> None:
        """As ``Load.check``: what this machine cannot reach shows when it is asked whether it predicts."""

    async def run(
        self,
        spec: LoadSpec,
        *,
        on_tick: Callable[[Tick], None] | None = None,
        on_warm: Callable[[], Awaitable[None]] | None = None,
        control: Control | None = None,
    ) -> LoadResult:
        """As ``Load.run``."""
        return await run_load(spec, processes=self._processes, on_tick=on_tick, on_warm=on_warm, control=control)

    async def calibrate(self, spec: LoadSpec) -> Calibration:
        """As ``Load.calibrate``."""
        return await calibrate(spec, processes=self._processes)


HERE = LocalLoad()
