"""The help over the main screen: the keys of the pane in sight and all others, and how to read what is shown."""

from __future__ import annotations

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
NAMES = {"bench": "Bench", "model": "Model", "try": "Try it", "logs": "Logs", "history": "History"}
SHARED = {
    "bench": {
        "next_view": "Another view: ticks, sizes or histogram",
        "step_table_minus_1": "",
        "step_table_1": "",
        "copy": "Copy the table in sight",
        "open_export": "",
    },
    "model": {
        "next_view": "The JSON as it was sent, or a snippet that asks: curl, Python, gRPC",
        "copy": "Copy the JSON or the snippet",
        "update": "Ask the servers again",
    },
    "try": {
        "next_view": "The next signature",
        "copy": "Copy the body and all answers as JSON",
        "update": "Ask for the signatures again",
    },
    "logs": {
        "next_view": "All lines, warnings and errors, or errors alone",
        "copy": "Copy the passing lines of the log in focus",
    },
    "history": {"copy": "Copy the list", "update": "Read the list again"},
}
"""What keys that work everywhere mean on a pane, by id; nothing where it is what the table of keys says."""


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

    def __init__(self, pane: str) -> None:
        super().__init__()
        self._pane = pane

    def compose(self) -> ComposeResult:
        """One scrolling sheet."""
        with VerticalScroll(id="help") as sheet:
            sheet.border_title = f"keys, those of {NAMES[self._pane]} first"
            sheet.border_subtitle = "↑ ↓ scroll · Escape closes"
            yield Static(_key_table(self._pane), id="help-keys")
            yield Static(Text(f"\n{READING}"))


def _key_table(pane: str) -> Table:
    """What the keys do on the pane in sight on top, then those that work everywhere, then the rest."""
    own = PLACE_OF_PANE.get(pane, pane)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    _add(table, f"{NAMES[pane]} pane", [*keys.help_rows(own), *_shared_rows(pane)])
    for place in sorted(keys.PLACES, key=lambda one: one != "main"):
        if place != own:
            table.add_row()
            _add(table, keys.PLACES[place], keys.help_rows(place))
    return table


def _shared_rows(pane: str) -> list[tuple[str, str]]:
    """The keys that work everywhere, with what they mean on this pane."""
    meant = SHARED[pane]
    shared = (key for key in keys.table() if key.place == "main" and key.id in meant)
    return [(keys.written(key), meant[key.id] or key.help) for key in shared]


def _add(table: Table, title: str, rows: list[tuple[str, str]]) -> None:
    table.add_row(Text(""), Text(title, "bold"))
    for written, what in rows:
        table.add_row(Text(written, "bold"), Text(what))
