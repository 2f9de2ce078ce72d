"""The form that changes a preset before it runs, or saves a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from serving_ctl.errors import TfServeError
from tui.preset_fields import Field, fields_of, table_of, text_of

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


class PresetForm(ModalScreen[str]):
    """Gives back the name of the preset to run now; nothing when it was only kept, saved or left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]
    DEFAULT_CSS = """
    PresetForm {
        align: center middle;
        #form { width: 88; max-width: 98%; height: auto; max-height: 96%; border: round $accent; background: $surface;
                padding: 0 2; border-title-style: bold; }
        #form-fields { height: auto; max-height: 26; scrollbar-size: 1 1; }
        .form-row { height: 1; margin-bottom: 0; }
        .form-row Label { width: 45; }
        .form-row Input, .form-row Select { width: 1fr; }
        #form-answer { height: auto; min-height: 1; color: $warn; margin-top: 1; }
        #form-buttons { height: auto; align-horizontal: center; margin-top: 1; }
        Button { margin: 0 1; }
    }
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._names = [preset.name for preset in engine.presets.summaries()]
        self._table: dict[str, Any] = engine.presets.table(self._names[0])

    def compose(self) -> ComposeResult:
        """Which preset, its fields, what is to be said, and what can be done."""
        with Vertical(id="form") as box:
            box.border_title = "preset"
            box.border_subtitle = "Tab next · Escape leaves"
            with Horizontal(classes="form-row"):
                yield Label("begin with")
                options = [(name, name) for name in self._names]
                yield Select(options, value=self._names[0], allow_blank=False, id="form-from", compact=True)
            with Horizontal(classes="form-row"):
                yield Label("name; another one makes a new preset")
                yield Input(self._names[0], id="form-name", compact=True)
            yield VerticalScroll(id="form-fields")
            yield Static("", id="form-answer", markup=False)
            with Horizontal(id="form-buttons"):
                yield Button("Run now", id="form-run", variant="primary", compact=True)
                yield Button("Keep for this session", id="form-keep", compact=True)
                yield Button("Save", id="form-save", compact=True)

    async def on_select_changed(self, event: Select.Changed) -> None:
        """Fill the form from another preset."""
        if event.select.id != "form-from":
            return
        name = str(event.value)
        self._table = self._engine.presets.table(name)
        self.query_one("#form-name", Input).value = name
        fields = self.query_one("#form-fields")
        await fields.remove_children()
        await fields.mount(*(_row(field, text_of(self._table, field)) for field in fields_of(self._table)))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take the fields; what is wrong with them is said, and the form stays."""
        name = self.query_one("#form-name", Input).value.strip()
        save = event.button.id == "form-save"
        try:
            path = self._engine.presets.change(name, table_of(self._table, self._texts()), save=save)
        except TfServeError as error:
            self.query_one("#form-answer", Static).update(str(error))
            return
        if path is not None:
            self.app.notify(f"{name} is saved in {path}", title="Preset", markup=False)
        self.dismiss(name if event.button.id == "form-run" else "")

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss("")

    def _texts(self) -> dict[str, str]:
        """The fields' texts by key."""
        found: dict[str, str] = {}
        for field in fields_of(self._table):
            widget = self.query_one(f"#{_widget_id(field)}")
            found[field.key] = str(widget.value) if isinstance(widget, Input | Select) else ""
        return found


def _row(field: Field, text: str) -> Horizontal:
    widget: Input | Select[str]
    if field.kind == "choice":
        options = [(option, option) for option in field.options]
        widget = Select(options, value=text, allow_blank=False, id=_widget_id(field), compact=True)
    else:
        widget = Input(text, id=_widget_id(field), compact=True)
    return Horizontal(Label(field.label), widget, classes="form-row")


def _widget_id(field: Field) -> str:
    return "field-" + field.key.replace(".", "-")
