"""A run on the Bench pane: where it stands, its charts, the growing tables, and the selected row in detail."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.reactive import var

from serving_ctl.bench.progress import Progress
from serving_ctl.results.record import RunRecord
from tui.answer import answer
from tui.steps import Step, step_in_flight, steps_of
from tui.widgets.histogram_chart import HistogramChart
from tui.widgets.latency_chart import LatencyChart
from tui.widgets.note import Note
from tui.widgets.ratio_table import RatioTable
from tui.widgets.row_details import Choice, RowDetails
from tui.widgets.run_line import RunLine
from tui.widgets.size_chart import SizeChart

TICKS, SIZES, HISTOGRAM, TABLE = "-ticks", "-sizes", "-histogram", "-table"
"""The views: the ticks of a run that is on, the chart of the table in sight, the distribution of its selected row; and
the long table of a finished run alone where there are few rows."""
LONG = 6
"""Rows of a table from which on it leaves a chart no room on a short screen."""
ROOMY = 34
"""Rows of the screen beside those of the table from which on there is room for how its metric is measured."""


class RunView(Vertical):
    """The newest run, from its start on."""

    DEFAULT_CSS = """
    RunView {
        #charts, RatioTable, Note, RowDetails { display: none; }
        &.-has-run {
            #charts, RatioTable, Note, RowDetails { display: block; }
        }
        #charts { layout: horizontal; height: 1fr; min-height: 6; }
        LatencyChart, SizeChart, HistogramChart { display: none; }
        &.-ticks LatencyChart, &.-sizes SizeChart, &.-table SizeChart { display: block; }
        &.-histogram HistogramChart { display: block; }
        RatioTable { max-height: 50%; }
    }
    """

    progress: var[Progress] = var(Progress(), init=False)
    """Bound to the main screen's, and handed on to the widgets."""
    activity: var[str] = var("", init=False)
    """The preset that is being prepared."""
    step: var[str] = var("", init=False)
    """What is being done for it, where that is known."""
    cancelling: var[bool] = var(False, init=False)
    """True while a cancelled run winds up."""
    paused: var[bool] = var(False, init=False)
    """True while the run sends nothing because the user said so."""

    def __init__(self) -> None:
        super().__init__(id="run-view")
        self._number = 0
        self._run_id = ""
        self._follows = True
        self._view = self._asked = ""

    def compose(self) -> ComposeResult:
        """Top down."""
        view = RunView
        yield RunLine().data_bind(view.progress, view.activity, view.step, view.cancelling, view.paused)
        with Horizontal(id="charts"):
            yield LatencyChart().data_bind(view.progress)
            yield SizeChart()
            yield HistogramChart()
        yield RatioTable()
        yield Note(id="table-notes")
        yield RowDetails()

    def watch_progress(self, old: Progress, new: Progress) -> None:
        """Show a run from its start on; tables and details only when a cell began or ended."""
        if new.run is None or new.run is old.run:
            return
        if new.run.started.run_id != self._run_id:
            self._run_id, self._follows, self._number = new.run.started.run_id, True, 0
            table = self.query_one(RatioTable)
            table.cursor, table.follows = 0, True
            self.add_class("-has-run")
            self._view = self._asked = ""
        self.set_class(new.run.end is not None, "-ended")
        if self._follows:
            self._number = step_in_flight(new.run)
        self._show_table(new.run)

    def step_table(self, by: int) -> None:
        """Show the next or the previous table; from then on the keys alone change it."""
        run = self.progress.run
        if run is not None:
            self._follows = False
            self._number = (self._number + by) % len(steps_of(run))
            self._show_table(run)

    def next_view(self) -> None:
        """The next view: ticks while a run is on, the table's chart, the distribution of the selected row."""
        run = self.progress.run
        if run is not None:
            views = self._views(run)
            self._asked = views[(views.index(self._view) + 1) % len(views)]
            self._show_view(run)

    def text_to_copy(self) -> str:
        """The table in sight, with tabs between its cells."""
        run = self.progress.run
        if run is None:
            return ""
        table = self._current_step(run).table(run)
        rows = ([column.heading for column in table.columns], *(row.cells for row in table.rows))
        return "\n".join("\t".join(cells) for cells in rows)

    def on_ratio_table_row_selected(self) -> None:
        """Show the row under the cursor."""
        if self.progress.run is not None:
            self._show_details(self.progress.run, self._current_step(self.progress.run))

    def on_ratio_table_details_toggled(self) -> None:
        """On small screens the chart and part of the table make room for the details."""
        self.toggle_class("-details")

    def _views(self, run: RunRecord) -> tuple[str, ...]:
        if run.end is None:
            return (TICKS, SIZES, HISTOGRAM)
        is_long = len(self._current_step(run).table(run).rows) > LONG
        return (TABLE, SIZES, HISTOGRAM) if is_long and self.screen.has_class("-short") else (SIZES, HISTOGRAM)

    def _show_view(self, run: RunRecord) -> None:
        """The view that the key asked for, while there is such a one; else the first."""
        views = self._views(run)
        self._view = self._asked if self._asked in views else views[0]
        for name in (TICKS, SIZES, HISTOGRAM, TABLE):
            self.set_class(name == self._view, name)

    def _current_step(self, run: RunRecord) -> Step:
        steps = steps_of(run)
        return steps[min(self._number, len(steps) - 1)]

    def _show_table(self, run: RunRecord) -> None:
        step = self._current_step(run)
        self.query_one(RatioTable).show_table(run, step, self._number, len(steps_of(run)))
        self._show_notes(run, step)
        self._show_details(run, step)
        self._show_view(run)

    def _show_notes(self, run: RunRecord, step: Step) -> None:
        """Of a run that has ended the answer, then what the rate means and how its metric is measured."""
        table = step.table(run)
        lead = answer(table, run.targets[0].name, step.metric) if run.end and step.metric else ()
        has_room = self.screen.size.height - len(table.rows) >= ROOMY
        self.query_one("#table-notes", Note).say(*table.notes[: 2 if has_room else 1], lead=lead)

    def _show_details(self, run: RunRecord, step: Step) -> None:
        row = self.query_one(RatioTable).cursor
        if step.ladder is not None:
            choice = Choice(
                record=run, ladder=step.ladder, size=step.ladder.sizes[min(row, len(step.ladder.sizes) - 1)]
            )
        else:
            rows = step.table(run).rows
            choice = Choice(record=run, text=rows[min(row, len(rows) - 1)].cells[-1])
        self.query_one(RowDetails).show_choice(choice)
        self.query_one(SizeChart).show_curves(choice, step.metric)
        self.query_one(HistogramChart).show_choice(choice)
