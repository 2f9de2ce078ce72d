"""The help over the main screen: all keys, from the one table of keys, and how to read what is shown."""

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


class HelpScreen(ModalScreen[None]):
    """Keys and reading aid."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "app.pop_screen", "close")]
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        #help { width: 86; max-width: 96%; height: auto; max-height: 92%; border: round $accent; background: $surface;
                padding: 1 2; border-title-style: bold; }
    }
    """

    def compose(self) -> ComposeResult:
        """One scrolling sheet."""
        with VerticalScroll(id="help") as sheet:
            sheet.border_title = "keys"
            sheet.border_subtitle = "escape closes"
            yield Static(_key_table())
            yield Static(Text(f"\n{READING}"))


def _key_table() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for written, what in keys.help_rows():
        table.add_row(Text(written, "bold"), Text(what))
    return table
