"""The help over the main screen: the keys of the pane in sight and all others, and how to read what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import keys

READING = (
    "ratio (rate) = first server / second, as in the original tables; for times below 1 means that the first is "
    "faster. Its interval is 95 % over rounds; the word says what the interval allows to say. Every chart and bar "
    "starts at 0, both servers on one scale. ● and ■ are the servers, with their colours."
)
PLACE_OF_PANE = {"bench": "table"}


class HelpScreen(ModalScreen[None]):
    """Keys and reading aid."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "app.pop_screen", "close")]
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        #help { width: 92; max-width: 96%; height: auto; max-height: 92%; border: round $accent; background: $surface;
                padding: 1 2; border-title-style: bold; }
    }
    """

    def __init__(self, pane: str, chosen: Mapping[str, str]) -> None:
        super().__init__()
        self._chosen = chosen
        self._place = PLACE_OF_PANE.get(pane, pane)

    def compose(self) -> ComposeResult:
        """One scrolling sheet."""
        with VerticalScroll(id="help") as sheet:
            sheet.border_title = "keys"
            sheet.border_subtitle = "↑ ↓ scroll · Escape closes"
            yield Static(_key_table(self._place, self._chosen))
            yield Static(Text(f"\n{READING}"))


def _key_table(first: str, chosen: Mapping[str, str]) -> Table:
    """The keys of the pane in sight on top, then those that work everywhere, then the rest."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for place in sorted(keys.PLACES, key=lambda one: (one != first, one != "main")):
        if rows := keys.help_rows(place, chosen):
            table.add_row(Text(""), Text(keys.PLACES[place], "bold underline"))
            for written, what in rows:
                table.add_row(Text(written, "bold"), Text(what))
    return table
