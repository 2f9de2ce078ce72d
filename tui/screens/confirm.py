"""A question with a few answers, each with its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class Answer(NamedTuple):
    """One answer: its key, its words and what the question gives back."""

    key: str
    label: str
    value: str


class ConfirmScreen(ModalScreen[str]):
    """Asks; gives back the chosen answer's value, and the last answer's for escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stay", "stay"),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    ConfirmScreen {
        align: center middle;
        #question { width: 70; max-width: 95%; height: auto; border: round $accent; background: $surface;
                    padding: 1 2; }
        #answers { height: auto; margin-top: 1; align-horizontal: center; }
        Button { margin: 0 1; min-width: 12; }
    }
    """

    def __init__(self, question: str, answers: Sequence[Answer], *, safe: bool = False) -> None:
        """``safe``: Enter takes the last answer, which changes nothing, until another is chosen."""
        super().__init__()
        self._safe = safe
        self._question = question
        self._answers = tuple(answers)

    def compose(self) -> ComposeResult:
        """The question over its answers."""
        with Vertical(id="question"):
            yield Static(self._question, markup=False)
            with Horizontal(id="answers"):
                for answer in self._answers:
                    yield Button(f"{answer.key}  {answer.label}", id=f"answer-{answer.value}", compact=True)

    def on_mount(self) -> None:
        """One answer is a key press away."""
        list(self.query(Button))[-1 if self._safe else 0].focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The mouse or Enter chose."""
        self.dismiss(str(event.button.id).removeprefix("answer-"))

    def on_key(self, event: events.Key) -> None:
        """A letter chose."""
        chosen = next((answer for answer in self._answers if answer.key == event.key), None)
        if chosen:
            event.stop()
            self.dismiss(chosen.value)

    def action_stay(self) -> None:
        """Take the last answer, which changes nothing."""
        self.dismiss(self._answers[-1].value)
