"""The form of TensorFlow Serving's flags: find one, give it a value, use all for this session or save them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Static

from serving_ctl import formatting
from serving_ctl.errors import TfServeError
from tui import keys

if TYPE_CHECKING:
    from serving_ctl.engine import Engine

Flags = dict[str, Any]
FIND, EDIT = "flags-find", "flags-edit"
NOT_USED = "These changes are not used yet: {flags_use} uses them, {flags_save} saves them, Escape again gives them up."


def flag_text(value: object) -> str:
    """A value as the server's command line has it; an empty text is shown as two quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def flags_to_show(known: Mapping[str, Any], flags: Flags, find: str) -> list[str]:
    """Names of the flags whose name or help holds ``find``, those that are set first."""
    names = [*flags, *(name for name in known if name not in flags)]
    helps = {name: known[name].help if name in known else "" for name in names}
    return [name for name in names if find.lower() in f"{name} {helps[name]}".lower()]


class FlagsForm(ModalScreen[str]):
    """Gives back what has become of the flags, in one sentence; nothing when they were left as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings("flags"),
        Binding("enter", "edit", "edit", show=False, priority=True),
        Binding("escape,q", "leave", "leave"),
    ]
    DEFAULT_CSS = """
    FlagsForm {
        align: center middle;
        #flags { width: 98%; max-width: 140; height: 96%; max-height: 48; border: round $accent; background: $surface;
                 padding: 0 1; border-title-style: bold; }
        DataTable { height: 1fr; background: $surface; }
        #flags-help { height: auto; max-height: 5; min-height: 2; color: $quiet; margin-top: 1; }
        #flags-answer { height: auto; min-height: 1; color: $warn; }
        #flags-find, #flags-edit { display: none; }
        &.-finding #flags-find, &.-editing #flags-edit { display: block; }
    }
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._known: dict[str, Any] = {}
        self._flags: Flags = dict(engine.settings.tf_serving.flags)
        self._names: list[str] = []
        self._agreed = False
        """The user was told that Escape gives up the changes."""

    def compose(self) -> ComposeResult:
        """What to find, the flags, the help of the one under the cursor, its new value, and what is to be said."""
        with Vertical(id="flags") as box:
            box.border_title = "● tf-serving: flags"
            box.border_subtitle = _list_hint()
            yield Input(placeholder="part of a name or help; Enter keeps it, Escape shows all", id=FIND, compact=True)
            yield DataTable(cursor_type="row")
            yield Static("", id="flags-help", markup=False)
            yield Input(placeholder="empty: the server's default", id=EDIT, compact=True)
            yield Static("asking the server for its flags …", id="flags-answer", markup=False)

    def on_mount(self) -> None:
        """Ask for the flags."""
        self.query_one(DataTable).add_columns("flag", "value", "default", "type")
        self.run_worker(self._open(), name="flags")

    def on_data_table_row_highlighted(self) -> None:
        """Another flag under the cursor."""
        flag = self._known.get(self._flag_name)
        self.query_one("#flags-help", Static).update(f"{flag.name}: {flag.help}" if flag else self._flag_name)

    def on_data_table_row_selected(self) -> None:
        """A click on the flag under the cursor."""
        self.action_edit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a field the keys before a text mean what they mean there."""
        del parameters
        return action not in {"find", "edit"} or not isinstance(self.focused, Input)

    def action_edit(self) -> None:
        """Edit the value of the flag under the cursor."""
        if name := self._flag_name if self._flag_name in self._known else "":
            edit = self.query_one(f"#{EDIT}", Input)
            edit.value = flag_text(value) if (value := self._flags.get(name, "")) != "" else ""
            edit.placeholder = f"{name}: empty is the server's default"
            self._open_field("-editing", edit, "Enter takes the value · Escape leaves it as it was")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what is found."""
        if event.input.id == FIND:
            self._fill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the value, or keep what was found."""
        if event.input.id == FIND:
            self._to_list()
            return
        name, text = self._flag_name, event.value.strip()
        try:
            value = self._engine.tuning.flag_value(self._known[name], text) if text else None
        except TfServeError as error:
            self._say(str(error))
            return
        self._set(name, value)

    def action_find(self) -> None:
        """Type what to find."""
        self._open_field("-finding", self.query_one(f"#{FIND}", Input), "Enter keeps what is found · Escape shows all")

    def action_default(self) -> None:
        """The server's default for the flag under the cursor."""
        if self._flag_name in self._flags:
            self._set(self._flag_name, None)

    def action_use(self) -> None:
        """Take the flags for this session."""
        self._change(save=False)

    def action_save(self) -> None:
        """Take them and write them."""
        self._change(save=True)

    def action_leave(self) -> None:
        """Out of a field; else out of the form, with changes only when asked twice."""
        if self.has_class("-editing"):
            self._close_edit()
        elif self.has_class("-finding"):
            self.remove_class("-finding")
            self.query_one(f"#{FIND}", Input).value = ""
            self._to_list()
        elif self._agreed or self._flags == self._engine.settings.tf_serving.flags:
            self.dismiss("")
        else:
            self._agreed = True
            self._say(keys.say(NOT_USED))

    @property
    def _flag_name(self) -> str:
        row = self.query_one(DataTable).cursor_row
        return self._names[row] if 0 <= row < len(self._names) else ""

    async def _open(self) -> None:
        try:
            self._known = await self._engine.tuning.known_flags()
        except TfServeError as error:
            self._say(str(error))
            return
        self._fill()
        self.query_one(DataTable).focus()
        self._judge()

    def _fill(self, name: str = "") -> None:
        """The rows; the cursor goes to ``name``."""
        table = self.query_one(DataTable)
        self._names = flags_to_show(self._known, self._flags, self.query_one(f"#{FIND}", Input).value)
        table.clear()
        for one in self._names:
            flag = self._known.get(one)
            value = flag_text(self._flags[one]) if one in self._flags else ""
            cells = (one, value, flag_text(flag.default) if flag else "no such flag", flag.type if flag else "")
            table.add_row(*(Text(cell, "bold" if value else "") for cell in cells))
        if name in self._names:
            table.move_cursor(row=self._names.index(name))
        self.on_data_table_row_highlighted()

    def _set(self, name: str, value: object) -> None:
        self._flags = {key: one for key, one in self._flags.items() if key != name}
        if value is not None:
            self._flags[name] = value
        self._agreed = False
        self._close_edit()
        self._fill(name)
        self._judge()

    def _judge(self) -> None:
        """Say what contradicts, or how many are set."""
        try:
            self._engine.tuning.check_flags(self._flags, self._known)
        except TfServeError as error:
            self._say(str(error))
        else:
            self._say(f"{formatting.plural(len(self._flags), 'flag')} set; the others have the server's default.")

    def _change(self, *, save: bool) -> None:
        if not any(worker.name in {"change", "flags"} and not worker.is_finished for worker in self.workers):
            self._say("taking the flags …")
            self.run_worker(self._take(save=save), name="change")

    async def _take(self, *, save: bool) -> None:
        try:
            path = await self._engine.tuning.change_flags(self._flags, save=save)
        except TfServeError as error:
            self._say(str(error))
        else:
            self.dismiss(told(path))

    def _close_edit(self) -> None:
        self.remove_class("-editing")
        self._to_list()

    def _open_field(self, mode: str, field: Input, hint: str) -> None:
        """Show a field with what its keys do; the focus moves at once, so that the next key is its first letter."""
        self.add_class(mode)
        self.query_one("#flags").border_subtitle = hint
        self.set_focus(field)

    def _to_list(self) -> None:
        self.query_one("#flags").border_subtitle = _list_hint()
        self.set_focus(self.query_one(DataTable))

    def _say(self, sentence: str) -> None:
        self.query_one("#flags-answer", Static).update(sentence)


def _list_hint() -> str:
    """What the keys do while the list has the focus."""
    return f"Enter edits · {keys.hint('flags')} · Escape leaves"


def told(path: Path | None) -> str:
    """What has become of the flags."""
    return f"Saved in {path}." if path else keys.say("Used in this session; {flags_save} in the form saves them.")
