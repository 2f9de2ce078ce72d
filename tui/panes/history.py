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

from serving_ctl.bench.progress import Progress
from serving_ctl.errors import TfServeError
from serving_ctl.results.record import RunRecord, RunSummary
from tui import keys
from tui.conductor import Conductor
from tui.drawing import cut
from tui.history_rows import COLUMNS, details_of, mark_text, row_of, widths_of
from tui.messages import ExportWanted, RunOpened
from tui.panes.pane import Pane
from tui.screens.confirm import Answer, ConfirmScreen

EMPTY = "No run is kept yet: a number key runs a preset, and every run is kept here, to open, compare and export."
HOW_TO_COMPARE = "{history_mark} marks one run; on another one {history_compare} compares the two."
COMPARE = "{history_compare} compares it with the run under the cursor."
NOT_READ = "This is a replay, so that the kept runs are not read."


class HistoryPane(Pane):
    """One line a run, newest first; below it all that is known of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("history")]
    DEFAULT_CSS = """
    HistoryPane {
        #history-keys { height: auto; color: $quiet; }
        DataTable { height: 1fr; background: $background; scrollbar-size: 1 1; }
        DataTable:focus { background-tint: $background 0%; }
        #history-details { height: auto; max-height: 5; color: $quiet; }
        &.-empty DataTable { display: none; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._runs: tuple[RunSummary, ...] = ()
        self._marked = ""
        self._problem = ""
        """Why the runs cannot be read."""
        self._seen: tuple[object, ...] = ()
        """What the list was last read for."""

    def compose(self) -> ComposeResult:
        """What can be done, the list, and the run under the cursor."""
        yield Static("", id="history-keys", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=True, cell_padding=0)
        yield Static("", id="history-details", markup=False)

    def watch_progress(self, progress: Progress) -> None:
        """Read the list anew when there is one to read, and when a run has ended."""
        run = progress.run
        seen = (self.conductor.engine is not None, run and run.started.run_id, run and run.end)
        if seen != self._seen and self.in_sight:
            self._do(self._read())
        self._seen = seen

    def on_resize(self) -> None:
        """Other widths."""
        self._show()

    def on_data_table_row_highlighted(self) -> None:
        """All about the run under the cursor."""
        run = self._run_at_cursor
        self.query_one("#history-details", Static).update(details_of(run) if run else "")

    def opened(self) -> None:
        """Read the list anew."""
        self._table.focus()
        if self.conductor.engine is not None:
            self._do(self._read())
        else:
            self._show()

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
            self._say_keys()

    def action_compare(self) -> None:
        """The marked run against the one under the cursor."""
        run = self._run_at_cursor
        if run is None or not self._marked or self._marked == run.run_id:
            self.notify(keys.say(HOW_TO_COMPARE), severity="warning", markup=False)
            return
        self._do(self._compare(self._marked, run.run_id))

    def action_delete_run(self) -> None:
        """Ask first."""
        run = self._run_at_cursor
        if run is None:
            return
        question = f"Delete this run? It cannot be undone.\n\n{details_of(run)}"
        answers = (Answer("y", "Delete", "delete"), Answer("n", "Keep", "keep"))

        def answered(answer: str | None) -> None:
            if answer == "delete":
                self._do(self._delete(run.run_id))

        self.app.push_screen(ConfirmScreen(question, answers, safe=True), answered)

    def text_to_copy(self) -> str:
        """The list, with tabs between its cells."""
        return "\n".join("\t".join(row_of(run, marked=False)[1:]) for run in self._runs)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    @property
    def _run_at_cursor(self) -> RunSummary | None:
        row = self._table.cursor_row
        return self._runs[row] if 0 <= row < len(self._runs) else None

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(self._guarded(work), group="history", exclusive=True)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """``work`` with errors for people shown; the run may be gone, so that the list is read anew."""
        try:
            await work
        except TfServeError as error:
            self.notify(str(error), title="Not done", severity="error", timeout=15, markup=False)
            await self._read()

    async def _read(self) -> None:
        """The list of now; when it cannot be read, why."""
        if self.conductor.engine is None:
            return
        try:
            self._runs, self._problem = await asyncio.to_thread(self.conductor.engine.history.runs), ""
        except TfServeError as error:
            self._runs, self._problem = (), str(error)
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
        table, at = self._table, self._table.cursor_row
        rows = [row_of(run, marked=run.run_id == self._marked) for run in self._runs]
        widths = widths_of(rows, self.size.width)
        table.clear(columns=True)
        for name, width in widths.items():
            table.add_column(Text(name), width=width + 1)
        for row in rows:
            shown = zip(COLUMNS, row, strict=True)
            table.add_row(*(Text(cut(text, widths[name])) for name, text in shown if name in widths))
        table.move_cursor(row=min(at, max(0, len(rows) - 1)))
        self.set_class(not rows, "-empty")
        self._say_keys()

    def _say_keys(self) -> None:
        """What can be done with the runs, or why there are none."""
        if self._runs:
            marked = next((run for run in self._runs if run.run_id == self._marked), None)
            said = f"◆ {marked.run_id} is marked; {keys.say(COMPARE)}" if marked else keys.hint("history")
        else:
            said = self._problem or (EMPTY if self.conductor.engine else NOT_READ)
        self.query_one("#history-keys", Static).update(said)
