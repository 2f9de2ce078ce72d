"""What a run is asked for: the options that ``run`` takes besides the preset's name."""

from __future__ import annotations

from pathlib import Path

import msgspec


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
