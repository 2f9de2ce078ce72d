"""The History pane: the kept runs, to open, compare, export and delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable, Static

from serving_ctl import formatting
from serving_ctl.errors import TfServeError
from serving_ctl.results.record import RunRecord, RunSummary
from tui import keys
from tui.conductor import Conductor
from tui.messages import ExportWanted, RunOpened
from tui.panes.pane import Pane
from tui.screens.confirm import Answer, ConfirmScreen

EMPTY = "No run is kept yet; a number key runs a preset, and every run is kept."
COLUMNS = ("", "begun", "preset", "state", "cells", "rate", "servers", "called")
STATE_MARKS = {"finished": "✓", "cancelled": "!", "failed": "✗"}


def mark_text(*, marked: bool) -> str:
    """What stands before a run that another is to be compared with."""
    return "◆" if marked else " "


def summary_cells(run: RunSummary, *, marked: bool) -> tuple[str, ...]:
    """One line of the list."""
    rates = ", ".join(formatting.ratio_range(one.low, one.high) for one in run.rates) or formatting.MISSING
    return (
        mark_text(marked=marked),
        run.started_at[:16].replace("T", " "),
        f"{run.preset} {run.profile}",
        f"{STATE_MARKS.get(run.state, '?')} {run.state}",
        f"{formatting.count(run.cells)}/{formatting.count(run.planned)}",
        rates,
        " / ".join(run.targets),
        ", ".join(run.baselines),
    )


class HistoryPane(Pane):
    """One line a run, newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("history")]
    DEFAULT_CSS = """
    HistoryPane {
        DataTable { height: 1fr; background: $background; }
        #history-note { height: auto; color: $quiet; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._runs: tuple[RunSummary, ...] = ()
        self._marked = ""

    def compose(self) -> ComposeResult:
        """Note and list."""
        yield Static(EMPTY, id="history-note", markup=False)
        yield DataTable(id="history-table", cursor_type="row", zebra_stripes=True)

    def on_mount(self) -> None:
        """The columns never change."""
        self._table.add_columns(*COLUMNS)

    def opened(self) -> None:
        """Read the list anew."""
        self._table.focus()
        self._do(self._read())

    def on_data_table_row_selected(self) -> None:
        """Enter or a click."""
        self.action_open_run()

    def action_open_run(self) -> None:
        """Show the run on the Bench pane."""
        self._do(self._take(RunOpened))

    def action_export_run(self) -> None:
        """Ask where to."""
        self._do(self._take(ExportWanted))

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take the mark away."""
        if run := self._run_at_cursor:
            self._marked = "" if self._marked == run.run_id else run.run_id
            for row, one in enumerate(self._runs):
                self._table.update_cell_at(Coordinate(row, 0), Text(mark_text(marked=one.run_id == self._marked)))

    def action_compare(self) -> None:
        """The marked run against the one under the cursor."""
        run = self._run_at_cursor
        if run is None or not self._marked or self._marked == run.run_id:
            self.notify("Mark one run with space, go to another, then k compares the two.", severity="warning")
            return
        self._do(self._compare(self._marked, run.run_id))

    def action_delete_run(self) -> None:
        """Ask first."""
        run = self._run_at_cursor
        if run is None:
            return
        question = f"Delete the run of {run.preset} begun {run.started_at[:16].replace('T', ' ')}? It cannot be undone."
        answers = (Answer("y", "Delete", "delete"), Answer("n", "Keep", "keep"))

        def answered(answer: str | None) -> None:
            if answer == "delete":
                self._do(self._delete(run.run_id))

        self.app.push_screen(ConfirmScreen(question, answers), answered)

    def text_to_copy(self) -> str:
        """The list, with tabs between its cells."""
        return "\n".join("\t".join(summary_cells(run, marked=False)[1:]) for run in self._runs)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#history-table", DataTable)

    @property
    def _run_at_cursor(self) -> RunSummary | None:
        row = self._table.cursor_row
        return self._runs[row] if 0 <= row < len(self._runs) else None

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(self._guarded(work), group="history", exclusive=True)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """``work`` with errors for people shown."""
        try:
            await work
        except TfServeError as error:
            self.notify(str(error), title="Not done", severity="error", timeout=15, markup=False)

    async def _read(self) -> None:
        if self.conductor.engine is not None:
            self._runs = await asyncio.to_thread(self.conductor.engine.history.runs)
        self._show()

    async def _take(self, what: Callable[[RunRecord], Message]) -> None:
        """Read the run under the cursor and tell the screen."""
        engine, run = self.conductor.engine, self._run_at_cursor
        if engine is not None and run is not None:
            self.post_message(what(await asyncio.to_thread(engine.history.run, run.run_id)))

    async def _compare(self, first: str, second: str) -> None:
        from tui.screens.comparison import ComparisonScreen

        if self.conductor.engine is not None:
            tables = await asyncio.to_thread(self.conductor.engine.history.comparison_tables, first, second)
            self.app.push_screen(ComparisonScreen(tables))

    async def _delete(self, run_id: str) -> None:
        if self.conductor.engine is not None:
            await asyncio.to_thread(self.conductor.engine.history.delete, run_id)
            await self._read()

    def _show(self) -> None:
        table, row = self._table, self._table.cursor_row
        table.clear()
        for run in self._runs:
            table.add_row(*(Text(cell) for cell in summary_cells(run, marked=run.run_id == self._marked)))
        table.move_cursor(row=min(row, max(0, len(self._runs) - 1)))
        said = keys.hint("history") if self._runs else EMPTY
        self.query_one("#history-note", Static).update(said)
