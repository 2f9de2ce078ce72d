"""The dialog that writes a file: shows the whole path, never overwrites without asking, and lets the path be copied."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from serving_ctl.errors import ConfigError, TfServeError
from serving_ctl.results.record import RunRecord
from tui import keys

PICTURE = ".svg"
ENDINGS = (".md", ".csv", ".json", ".html", ".svg", ".png")
FORMATS = (
    ".md tables · .csv one line a cell · .json everything · .html one page with charts · .svg, .png the chart alone"
)
"""What the engine writes a run as; it refuses others with the ones it knows."""


def default_path(record: RunRecord) -> Path:
    """``PRESET-YYYYMMDD-HHMM.md`` in the current folder, from the time the run began."""
    digits = re.sub(r"\D", "", record.started.started_at)[:12]
    return Path(f"{record.started.preset}-{digits[:8]}-{digits[8:]}.md")


def picture_path() -> Path:
    """``tfserve-tui-YYYYMMDD-HHMMSS.svg`` in the current folder."""
    return Path(f"tfserve-tui-{datetime.datetime.now():%Y%m%d-%H%M%S}{PICTURE}")


def write_text(path: Path, text: str, ending: str) -> None:
    """Write ``text``. Raises ConfigError for another ending, or when the file cannot be written."""
    if path.suffix != ending:
        raise ConfigError(f"{path}: a picture of the screen ends with {ending}.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None


class ExportScreen(ModalScreen[None]):
    """Asks for a path and writes; stays with the path until it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings("export"),
        *keys.bindings("written"),
        Binding("escape", "leave", "leave"),
        Binding("enter", "leave", "leave", show=False),
    ]
    DEFAULT_CSS = """
    ExportScreen {
        align: center middle;
        #export { width: 76; max-width: 96%; height: auto; border: round $accent; background: $surface;
                  padding: 1 2; border-title-style: bold; }
        #export-input { border: round $border; background: $surface; }
        #export-input:focus { border: round $accent; }
        #export-formats, #export-path { color: $quiet; height: auto; margin-top: 1; }
        &.-written #export-formats { display: none; }
        #export-answer { color: $warn; margin-top: 1; height: auto; }
        &.-written #export-answer { color: $better; }
        &.-written #export-input { display: none; }
    }
    """

    def __init__(self, title: str, path: Path, write: Callable[[Path], Awaitable[None]]) -> None:
        super().__init__()
        self._title = title
        self._path = path
        self._write = write
        self._agreed: Path | None = None
        """The existing file that the user was asked about."""
        self._written: Path | None = None

    def compose(self) -> ComposeResult:
        """The path to edit, the whole path, and what is to be said about it."""
        with Vertical(id="export") as box:
            box.border_title = self._title
            more = "" if self._path.suffix == PICTURE else f"{keys.hint('export')} · "
            box.border_subtitle = f"Enter writes · {more}Escape leaves"
            yield Input(str(self._path), id="export-input", select_on_focus=False)
            if self._path.suffix != PICTURE:
                yield Static(FORMATS, id="export-formats", markup=False)
            yield Static("", id="export-path", markup=False)
            yield Static("", id="export-answer", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show where the file will lie, and ask anew."""
        self._agreed = None
        self.query_one("#export-path", Static).update(f"→ {_whole(event.value)}")
        self._answer("")

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Write, unless the file exists and nobody said that it may go."""
        event.stop()
        path = _whole(event.value)
        if _is_there(path) and self._agreed != path:
            self._agreed = path
            self._answer("This file exists. Enter again overwrites it; or change the name.")
            return
        self._answer("writing …")
        try:
            await self._write(path)
        except TfServeError as error:
            self._answer(str(error))
        else:
            self._say_written(path)

    def action_next_format(self) -> None:
        """The next ending that a run can be written with."""
        field = self.query_one("#export-input", Input)
        if self._path.suffix != PICTURE and self._written is None:
            path = Path(field.value)
            number = ENDINGS.index(path.suffix) + 1 if path.suffix in ENDINGS else 0
            field.value = str(path.with_suffix(ENDINGS[number % len(ENDINGS)])) if path.name else field.value
            field.cursor_position = len(field.value)

    def action_leave(self) -> None:
        """Nothing more to write."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the path of the written file."""
        if self._written is not None:
            self.app.copy_to_clipboard(str(self._written))
            self._answer("✓ written; its path is copied")

    def _say_written(self, path: Path) -> None:
        self._written = path
        self.add_class("-written")
        self.set_focus(None)
        self._answer("✓ written")
        self.query_one("#export").border_subtitle = f"{keys.hint('written')} · Enter, Escape close"

    def _answer(self, sentence: str) -> None:
        self.query_one("#export-answer", Static).update(sentence)


def _is_there(path: Path) -> bool:
    """True for what would be overwritten; ``Path.exists`` raises where it may not look."""
    return os.path.exists(path)  # noqa: PTH110


def _whole(text: str) -> Path:
    return Path(text.strip() or ".").expanduser().absolute()
