"""How a headless run shows its progress on stderr: a bar on a terminal, one plain line a cell elsewhere."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from serving_ctl import formatting
from serving_ctl.bench.progress import Progress
from serving_ctl.events import Cell, CellFinished, CellStarted, CellTick, Event, RunFailed, RunFinished, RunStarted


class ProgressLine:
    """Draws progress after each event; ``close`` takes the bar away."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, markup=False, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None

    def show(self, progress: Progress, event: Event) -> None:
        """Draw ``progress``, which ``event`` has just changed."""
        match event:
            case RunStarted():
                self._begin(event)
            case CellStarted() | CellTick() if self._bar:
                self._bar.update(self._bar.task_ids[0], completed=progress.fraction, text=_bar_text(progress))
            case CellFinished() if not self._bar:
                self._console.print(_cell_text(progress, event))
            case RunFinished() | RunFailed():
                self.close()
                self._console.print(_end_text(event))

    def close(self) -> None:
        """Take the bar off the terminal; idempotent."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _begin(self, started: RunStarted) -> None:
        for fact in started.facts:
            if fact.mark == "warn":
                self._console.print(f"! {fact.text}")
        self._console.print(f"{started.title}: about {formatting.duration(started.expected_s)}, run {started.run_id}")
        if self._console.is_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task("", total=1.0, text="")
            self._bar.start()


def _bar_text(progress: Progress) -> str:
    started, tick = progress.started, progress.tick
    if started is None:
        return ""
    name, left = _name(progress, started.cell), formatting.duration(max(started.left_s, 0.0))
    text = f"{started.number}/{started.total}  {name}  {left} left"
    return f"{text}  p50 {formatting.significant(tick.p50_ms)} ms" if tick and tick.p50_ms is not None else text


def _cell_text(progress: Progress, event: CellFinished) -> str:
    name = _name(progress, event.cell)
    if event.skipped:
        return f"{name}: skipped: {event.skipped}"
    failed = sum(failure.count for failure in event.failures)
    errors = f", {formatting.count(failed)} failed" if failed else ""
    flags = f" {' '.join(event.flags)}" if event.flags else ""
    median = formatting.significant(event.request.p50_ms)
    return f"{name}: p50 {median} ms, {formatting.significant(event.throughput_rps)} requests/s{errors}{flags}"


def _name(progress: Progress, cell: Cell) -> str:
    """The cell in words; the server by its target's name: the embedded one is not called tf-serving."""
    targets = progress.run.started.targets if progress.run else ()
    server = next((target.name for target in targets if target.server == cell.server), cell.server)
    return f"{cell.ladder} {formatting.count(cell.size)} {server} round {cell.round}"


def _end_text(event: RunFinished | RunFailed) -> str:
    took = formatting.duration(event.duration_s)
    return f"done in {took}" if isinstance(event, RunFinished) else f"ended after {took}: {event.reason}"
