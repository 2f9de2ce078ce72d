"""models.config, monitoring.config and batching.config: edited, checked when saved, nothing lost when refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from serving_ctl.errors import TfServeError
from tui import keys

if TYPE_CHECKING:
    from serving_ctl.engine import Engine

NAMES = ("models.config", "monitoring.config", "batching.config")
ABOUT = {
    "models.config": "Each start fills in the first model's name and base_path.",
    "monitoring.config": "Given to every start.",
    "batching.config": "Used with [tf-serving] batching = true.",
}


class ConfigEditor(ModalScreen[None]):
    """One text in sight; the others keep their changes."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("configs"), Binding("escape", "leave", "leave")]
    DEFAULT_CSS = """
    ConfigEditor {
        align: center middle;
        #configs { width: 98%; max-width: 140; height: 96%; max-height: 60; border: round $accent; background: $surface;
                   padding: 0 1; border-title-style: bold; }
        #configs-tabs { height: 1; }
        #configs-path { height: auto; max-height: 2; color: $quiet; }
        TextArea, TextArea:focus { height: 1fr; border: none; padding: 0; }
        #configs-answer { height: auto; min-height: 1; color: $warn; }
    }
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._file = NAMES[0]
        self._kept: dict[str, str] = {}
        """Texts as they lie on disk."""
        self._texts: dict[str, str] = {}
        """Texts as they are edited."""
        self._is_effective = False
        self._agreed = False
        """The user was told that Escape gives up the changes."""

    def compose(self) -> ComposeResult:
        """Which file, where it lies, its text, and what is to be said."""
        with Vertical(id="configs") as box:
            box.border_title = "● tf-serving: config files"
            box.border_subtitle = f"{keys.hint('configs')} · Escape leaves"
            yield Static("", id="configs-tabs", markup=False)
            yield Static("", id="configs-path", markup=False)
            yield TextArea(show_line_numbers=True, soft_wrap=True)
            yield Static("", id="configs-answer", markup=False)

    def on_mount(self) -> None:
        """The first file."""
        self._show()
        self.query_one(TextArea).focus()

    def on_text_area_changed(self) -> None:
        """Keep what was typed."""
        if not self._is_effective and self._file in self._kept:
            self._texts[self._file] = self.query_one(TextArea).text
            self._show_tabs()

    def action_next_file(self) -> None:
        """Another file."""
        self._file = NAMES[(NAMES.index(self._file) + 1) % len(NAMES)]
        self._is_effective = False
        self._show()

    def action_effective(self) -> None:
        """What the last start was given, or the file to edit again."""
        self._is_effective = not self._is_effective
        self._show()

    def action_save(self) -> None:
        """Check and write; a text that is refused stays as it is."""
        if self._is_effective or self._file not in self._texts:
            self._say(keys.say("Only the file itself can be saved; {configs_effective} goes back to it."))
            return
        text = self._texts[self._file]
        try:
            path = self._engine.tuning.save_config(self._file, text)
        except TfServeError as error:
            self._say(str(error))
            return
        self._kept[self._file] = text
        self._show_tabs()
        self._show_path(path)
        self._say(
            f"✓ Saved in {path}. It counts from the next start on" + keys.say("; {restart_servers} restarts a server.")
        )

    def action_leave(self) -> None:
        """Leave; with changes only when asked twice."""
        changed = self._changed()
        if self._agreed or not changed:
            self.dismiss(None)
            return
        self._agreed = True
        self._say(f"Not saved: {', '.join(changed)}." + keys.say(" {configs_save} saves, Escape again gives them up."))

    def _show(self) -> None:
        """The text of the file, as it was left."""
        self._agreed = False
        editor, name = self.query_one(TextArea), self._file
        self._say("")
        try:
            path, text = (
                self._engine.tuning.effective_config(name)
                if self._is_effective
                else self._engine.tuning.config_text(name)
            )
        except TfServeError as error:
            self._is_effective = False
            self._say(str(error))
        else:
            if not self._is_effective:
                self._kept[name] = text
                text = self._texts.setdefault(name, text)
            self._show_path(path)
            editor.load_text(text)
        editor.read_only = self._is_effective or name not in self._texts
        self._show_tabs()

    def _changed(self) -> list[str]:
        return [name for name, text in self._texts.items() if text != self._kept[name]]

    def _show_tabs(self) -> None:
        """The files' names; a star marks one with changes."""
        changed = self._changed()
        words = [f"{name}*" if name in changed else name for name in NAMES]
        shown = [f"[{word}]" if name == self._file else f" {word} " for name, word in zip(NAMES, words, strict=True)]
        self.query_one("#configs-tabs", Static).update(" ".join(shown))

    def _show_path(self, path: Path) -> None:
        what = "as the last start was given it, not to be edited" if self._is_effective else ABOUT[self._file]
        self.query_one("#configs-path", Static).update(f"{path}\n{what}")

    def _say(self, sentence: str) -> None:
        self.query_one("#configs-answer", Static).update(sentence)
