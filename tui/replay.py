"""A recording that is played in place of driving servers. How it is played is the bridge's."""

from __future__ import annotations

from pathlib import Path

import msgspec

from serving_ctl.events import AnyEvent, RunStarted, ServerChanged
from tui.drawing import KNOWN


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What is played, and how fast: ``speed`` times its own pace, 0 at once."""

    path: Path
    events: tuple[AnyEvent, ...]
    speed: float = 1.0

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers that the recording has, the measured ones first; the usual ones when it measures none."""
        spoken = [event.server for event in self.events if isinstance(event, ServerChanged)]
        measured = [one.server for event in self.events if isinstance(event, RunStarted) for one in event.targets]
        return tuple(dict.fromkeys([*(measured or KNOWN), *spoken]))
