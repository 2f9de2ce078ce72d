"""The dialog that writes the run to a file: shows the whole path and never overwrites without asking."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from serving_ctl.errors import TfServeError
from serving_ctl.results.record import RunRecord


def default_path(record: RunRecord) -> Path:
    """``PRESET-YYYYMMDD-HHMM.md`` in the current folder, from the time the run began."""
    digits = re.sub(r"\D", "", record.started.started_at)[:12]
    return Path(f"{record.started.preset}-{digits[:8]}-{digits[8:]}.md")


class ExportScreen(ModalScreen[Path]):
    """Asks for a path and writes; gives the path back, or nothing when it was left with escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]
    DEFAULT_CSS = """
    ExportScreen {
        align: center middle;
        #export { width: 76; max-width: 96%; height: auto; border: round $accent; background: $surface;
                  padding: 1 2; border-title-style: bold; }
        #export-path { color: $quiet; margin-top: 1; }
        #export-answer { color: $warn; margin-top: 1; height: auto; }
    }
    """

    def __init__(self, path: Path, write: Callable[[Path], Awaitable[None]]) -> None:
        super().__init__()
        self._path = path
        self._write = write
        self._agreed: Path | None = None
        """The existing file that the user was asked about."""

    def compose(self) -> ComposeResult:
        """The path to edit, the whole path, and what is to be said about it."""
        with Vertical(id="export") as box:
            box.border_title = "export as Markdown"
            box.border_subtitle = "Enter writes · Escape leaves"
            yield Input(str(self._path), id="export-input", select_on_focus=False)
            yield Static("", id="export-path", markup=False)
            yield Static("", id="export-answer", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show where the file will lie, and ask anew."""
        self._agreed = None
        self.query_one("#export-path", Static).update(f"→ {_whole(event.value)}")
        self._answer("")

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Write, unless the file exists and nobody said that it may go."""
        path = _whole(event.value)
        if path.exists() and self._agreed != path:
            self._agreed = path
            self._answer("This file exists. Enter again overwrites it; or change the name.")
            return
        try:
            await self._write(path)
        except TfServeError as error:
            self._answer(str(error))
        else:
            self.dismiss(path)

    def action_leave(self) -> None:
        """Write nothing."""
        self.dismiss(None)

    def _answer(self, sentence: str) -> None:
        self.query_one("#export-answer", Static).update(sentence)


def _whole(text: str) -> Path:
    return Path(text.strip() or ".").expanduser().absolute()
