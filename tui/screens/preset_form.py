"""The form that changes a preset before it runs, or saves a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from serving_ctl.errors import TfServeError
from tui import keys
from tui.preset_fields import Field, WrongField, fields_of, guilty, table_of, text_of

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


class PresetForm(ModalScreen[str]):
    """Gives back the name of the preset to run now; nothing when it was only kept, saved or left."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("preset"), Binding("escape", "leave", "leave")]
    DEFAULT_CSS = """
    PresetForm {
        align: center middle;
        #form { width: 88; max-width: 98%; height: auto; max-height: 96%; border: round $accent; background: $surface;
                padding: 0 2; border-title-style: bold; }
        #form-fields { height: auto; max-height: 26; scrollbar-size: 1 1; }
        .form-row { height: 1; margin-bottom: 0; }
        .form-row Label { width: 45; }
        .form-wrong { display: none; height: auto; color: $worse; padding-left: 45; }
        .form-field { height: auto; }
        .form-field.-wrong .form-wrong { display: block; }
        .form-row Input, .form-row Select { width: 1fr; }
        .form-row Input, .form-row SelectCurrent { background: $panel; }
        .form-row Input:focus, .form-row Select:focus SelectCurrent { background: $background; }
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
        self._wrong = ""
        """The text that was found wrong last."""
        self._agreed = False
        """The user was told that Escape gives up the changes."""

    def compose(self) -> ComposeResult:
        """Which preset, its fields, what is to be said, and what can be done."""
        with Vertical(id="form") as box:
            box.border_title = "preset"
            box.border_subtitle = f"{keys.hint('preset')} · Tab next · Escape leaves"
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
        await fields.mount(*(_row(field, text_of(self._table, field)) for field in self._fields))
        self._say("")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The mouse or Enter chose."""
        self._take(save=event.button.id == "form-save", run=event.button.id == "form-run")

    def action_run(self) -> None:
        """Run it now."""
        self._take(run=True)

    def action_keep(self) -> None:
        """Keep it for this session."""
        self._take()

    def action_save(self) -> None:
        """Write it."""
        self._take(save=True)

    def _take(self, *, save: bool = False, run: bool = False) -> None:
        """Take the fields; what is wrong with them is said, and the form stays."""
        name = self.query_one("#form-name", Input).value.strip()
        try:
            path = self._engine.presets.change(name, table_of(self._table, self._texts()), save=save)
        except TfServeError as error:
            self._say_wrong(error)
            return
        if path is not None:
            self.app.notify(f"{name} is saved in {path}", title="Preset", markup=False)
        self.dismiss(name if run else "")

    def on_input_changed(self, event: Input.Changed) -> None:
        """What was wrong with the field is being mended."""
        if event.value != self._wrong:
            self._agreed = False
            for row in event.input.ancestors:
                row.remove_class("-wrong")

    def action_leave(self) -> None:
        """Change nothing; with changes only when asked twice."""
        if self._agreed or not self._changed():
            self.dismiss("")
            return
        self._agreed = True
        self._say(keys.say("Changed and not kept: {preset_keep} keeps it, Escape again gives it up."))

    def _say_wrong(self, error: TfServeError) -> None:
        """Say it at the field, where that is known, and go there."""
        problem = str(error).partition(": ")[2] or str(error)
        field = error.field if isinstance(error, WrongField) else guilty(problem, self._fields, self._changed())
        self._say("" if field else str(error))
        if field:
            widget = self.query_one(f"#{_widget_id(field)}")
            row = next(one for one in widget.ancestors if one.has_class("form-field"))
            row.query_one(".form-wrong", Static).update(problem)
            row.add_class("-wrong")
            self._wrong = self._texts()[field.key]
            widget.focus()

    def _say(self, sentence: str) -> None:
        self.query_one("#form-answer", Static).update(sentence)

    @property
    def _fields(self) -> tuple[Field, ...]:
        return fields_of(self._table)

    def _changed(self) -> set[str]:
        """Keys of the fields that no longer hold what the preset says."""
        texts = self._texts()
        return {field.key for field in self._fields if texts[field.key].strip() != text_of(self._table, field)}

    def _texts(self) -> dict[str, str]:
        """The fields' texts by key."""
        found: dict[str, str] = {}
        for field in self._fields:
            widget = self.query_one(f"#{_widget_id(field)}")
            found[field.key] = str(widget.value) if isinstance(widget, Input | Select) else ""
        return found


def _row(field: Field, text: str) -> Vertical:
    widget: Input | Select[str]
    if field.kind == "choice":
        options = [(option, option) for option in field.options]
        widget = Select(options, value=text, allow_blank=False, id=_widget_id(field), compact=True)
    else:
        widget = Input(text, id=_widget_id(field), compact=True)
    line = Horizontal(Label(field.label), widget, classes="form-row")
    return Vertical(line, Static("", classes="form-wrong", markup=False), classes="form-field")


def _widget_id(field: Field) -> str:
    return "field-" + field.key.replace(".", "-")
