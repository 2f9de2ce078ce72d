"""What a run is asked for: the options that ``run`` takes besides the preset's name."""

from __future__ import annotations

from pathlib import Path

import msgspec

from serving_ctl.config import Settings, targets_problem
from serving_ctl.errors import ConfigError


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a preset is run; what is None comes from the preset."""

    profile: str | None = None
    rounds: int | None = None
    despite_parity: bool = False
    recording: Path | None = None
    """Where all of the run's events are written for a replay; None writes none. The history keeps every run."""
    pull: bool = False
    runtime: str | None = None
    timeout_s: float | None = None
    cluster: str | None = None
    """The Dask cluster the load comes from; None takes that of the settings, an empty text is this machine."""
    targets: tuple[str, ...] = ()
    """Names of the servers to measure, the numerator of every ratio first; empty takes those of the settings."""

    def measured(self, settings: Settings) -> tuple[str, ...]:
        """Names of the servers that a run under ``settings`` measures. Raises ConfigError for a name that is none."""
        if problem := targets_problem(settings, self.targets, "--targets"):
            raise ConfigError(problem)
        return self.targets or settings.targets
