"""The base of dialogs that list things which can be looked at again and acted on."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Static

from serving_ctl.errors import TfServeError
from tui import keys


class Listing(ModalScreen[None]):
    """A table, a line for what happened, and the keys on the border.

    A kind of listing says its ``TITLE``, ``PLACE`` (of its keys) and ``COLUMNS``, and gives its rows in ``load``.
    """

    TITLE = ""
    PLACE = ""
    COLUMNS: ClassVar[tuple[str, ...]] = ()
    NUMBERS: ClassVar[frozenset[str]] = frozenset()
    """Columns whose cells stand at their right edge."""
    REFRESH_S: ClassVar[float] = 0.0
    """Seconds between two looks; 0 looks once and after each act."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "app.pop_screen", "close")]
    DEFAULT_CSS = """
    Listing {
        align: center middle;
        #listing { width: 94; max-width: 98%; height: auto; max-height: 92%; border: round $accent;
                   background: $surface; padding: 0 1; border-title-style: bold; }
        DataTable { height: auto; max-height: 60vh; background: $surface; }
        #listing-note { height: auto; color: $quiet; }
        #listing-more { height: auto; margin-top: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        """Table over note and what else there is to show."""
        with Vertical(id="listing") as box:
            box.border_title = self.TITLE
            box.border_subtitle = f"{keys.hint(self.PLACE)} · Escape closes"
            yield DataTable(cursor_type="row")
            yield Static("looking …", id="listing-note", markup=False)
            yield Static("", id="listing-more", markup=False)

    def on_mount(self) -> None:
        """Look, and again where things move by themselves."""
        self.query_one(DataTable).add_columns(*(self._cell(name, name) for name in self.COLUMNS))
        self.look()
        if self.REFRESH_S:
            self.set_interval(self.REFRESH_S, self.look)

    async def load(self) -> Sequence[Sequence[str]]:
        """The rows as they are now; may raise TfServeError."""
        raise NotImplementedError

    def look(self) -> None:
        """Show how things are now, unless a look is under way."""
        if not any(worker.name == "look" and not worker.is_finished for worker in self.workers):
            self.run_worker(self._look(), name="look", group="look")

    def do(self, work: Coroutine[Any, Any, None], doing: str) -> None:
        """Act, say so, and look again."""
        self.say(doing)
        self.run_worker(self._act(work), group="act", exclusive=True)

    def say(self, sentence: str) -> None:
        """One sentence below the table."""
        self.query_one("#listing-note", Static).update(sentence)

    @property
    def row(self) -> int:
        """Number of the row under the cursor."""
        return self.query_one(DataTable).cursor_row

    async def _look(self) -> None:
        try:
            rows = await self.load()
        except TfServeError as error:
            self.say(str(error))
            return
        table, row = self.query_one(DataTable), self.row
        table.clear()
        for cells in rows:
            table.add_row(*(self._cell(name, cell) for name, cell in zip(self.COLUMNS, cells, strict=True)))
        table.move_cursor(row=min(row, max(0, len(rows) - 1)))
        self.looked(len(rows))

    def _cell(self, column: str, text: str) -> Text:
        return Text(text, justify="right" if column in self.NUMBERS else "left")

    def looked(self, count: int) -> None:
        """The table holds ``count`` rows."""

    async def _act(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except TfServeError as error:
            self.say(str(error))
        else:
            await self._look()
