"""Messages from the engine's side and from panes to the screen."""

from __future__ import annotations

from textual.message import Message

from serving_ctl.bench.progress import Progress
from serving_ctl.results.record import RunRecord


class BenchAdvanced(Message):
    """The newest progress. It is cumulative, so a newer one replaces one that still waits."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def can_replace(self, message: Message) -> bool:
        """Replace any older progress in the queue."""
        return isinstance(message, BenchAdvanced)


class RunOpened(Message):
    """A kept run is to be shown on the Bench pane."""

    def __init__(self, record: RunRecord) -> None:
        super().__init__()
        self.record = record


class ExportWanted(Message):
    """A kept run is to be exported."""

    def __init__(self, record: RunRecord) -> None:
        super().__init__()
        self.record = record
