"""The Try it pane: a sentence or a JSON body to both servers, their answers side by side, and how they differ."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, Static, TextArea

from serving_ctl import formatting
from serving_ctl.errors import TfServeError
from tui import keys
from tui.conductor import SERVERS, Conductor
from tui.drawing import server_glyph
from tui.inquiry import ask_model
from tui.panes.pane import Pane

ASK = "s starts the servers; then a sentence or a JSON body can be sent to both."
BUSY = "A run is on and is not disturbed; c cancels it."


def takes_sentence(signature: Any) -> bool:
    """True for a signature of one string a request, which a sentence can be typed for."""
    inputs = signature.inputs
    return len(inputs) == 1 and inputs[0].dtype == "string" and inputs[0].shape is not None and len(inputs[0].shape) < 2


def sentence_body(signature: Any, sentence: str) -> bytes:
    """The request for one sentence."""
    scalar = signature.inputs[0].shape == ()
    values = {"inputs": {signature.inputs[0].name: sentence}} if scalar else {"instances": [sentence]}
    return json.dumps({"signature_name": signature.name, **values}, ensure_ascii=False).encode()


def difference_text(trial: Any) -> str:
    """What is to be said of the two answers together (R22)."""
    if trial.differs:
        return f"✗ the predictions differ: {trial.differs}"
    if trial.difference is None:
        return "Only one answer: nothing to compare." if trial.replies else ASK
    same = "the predictions are the same" if trial.difference == 0 else "the predictions agree"
    return (
        f"✓ {same}: largest difference {formatting.magnitude(trial.difference)} (allowed 1e-4 relative, 1e-5 absolute)"
    )


class TryItPane(Pane, can_focus=True):
    """What to send above, what came back below."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("try")]
    DEFAULT_CSS = """
    TryItPane {
        #try-signature { height: auto; }
        #try-sentence { border: round $border; }
        #try-body { height: 8; border: round $border; }
        #try-sentence:focus, #try-body:focus { border: round $accent; }
        #try-sentence, #try-body { display: none; }
        &.-sentence #try-sentence { display: block; }
        &.-body #try-body { display: block; }
        #try-difference { height: auto; }
        #try-answers { height: 1fr; }
        .try-answer { width: 1fr; border: round $border; border-title-style: bold; padding: 0 1; scrollbar-size: 1 1; }
        .try-answer.-tf-serving { border-title-color: $server-tf-serving; }
        .try-answer.-flask { border-title-color: $server-flask; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._model: Any = None
        self._chosen = 0
        self._trial: Any = None

    def compose(self) -> ComposeResult:
        """Signature, input, difference, answers."""
        yield Static(ASK, id="try-signature", markup=False)
        yield Input(placeholder="a sentence; Enter sends it to both servers", id="try-sentence")
        yield TextArea(id="try-body", language=None, show_line_numbers=False, soft_wrap=True, tab_behavior="focus")
        yield Static("", id="try-difference", markup=False)
        with Horizontal(id="try-answers"):
            for server in SERVERS:
                with VerticalScroll(classes=f"try-answer -{server}", id=f"try-{server}") as box:
                    box.border_title = f"{server_glyph(server)} {server}"
                    yield Static("", markup=False)

    def opened(self) -> None:
        """Take the keyboard; learn the signatures when they are not known yet."""
        if self._model is not None:
            self._focus_input()
        elif self.conductor.is_running:
            self._say(BUSY)
        elif self.conductor.engine is not None:
            self.run_worker(self._learn(), group="try", exclusive=True)

    def update_now(self) -> None:
        """Learn the signatures anew."""
        self._model = None
        self.opened()

    def next_view(self) -> None:
        """The next signature."""
        if self._model is not None:
            self._chosen = (self._chosen + 1) % len(self._model.signatures)
            self._show_signature()

    def text_to_copy(self) -> str:
        """Body and answers as JSON."""
        if self._trial is None:
            return ""
        answers = {reply.server: reply.answer or reply.problem for reply in self._trial.replies}
        return json.dumps({"body": json.loads(self._body()), "answers": answers}, indent=2, ensure_ascii=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter sends the sentence."""
        event.stop()
        self.action_send()

    def action_send(self) -> None:
        """Send to both servers."""
        if self._model is None or self.conductor.engine is None:
            self._say(ASK)
        elif self.conductor.is_running:
            self._say(BUSY)
        else:
            self.run_worker(self._send(), group="try", exclusive=True)

    def action_leave_text(self) -> None:
        """Give the single keys back."""
        self.focus()

    @property
    def _signature(self) -> Any:
        return self._model.signatures[self._chosen]

    async def _learn(self) -> None:
        """The signatures, from the first server that says them; the text one first, for it is the nicest to try."""
        engine = self.conductor.engine
        if engine is None:
            return
        for server in SERVERS:
            served = await ask_model(engine, server, self.progress)
            if served.model is not None and served.model.signatures:
                self._model = served.model
                sentences = [n for n, one in enumerate(served.model.signatures) if takes_sentence(one)]
                self._chosen = sentences[0] if sentences else 0
                self._show_signature()
                return
        self._say(ASK)

    def _show_signature(self) -> None:
        """The input for the chosen signature, filled with an example."""
        engine, signature = self.conductor.engine, self._signature
        by_sentence = takes_sentence(signature)
        self.set_class(by_sentence, "-sentence")
        self.set_class(not by_sentence, "-body")
        names = [f"▸{one.name}" if one is signature else one.name for one in self._model.signatures]
        how = "Enter sends" if by_sentence else "Ctrl-R sends"
        text = f"signature  {'  '.join(names)}   ({how} · Escape, v: next)"
        self.query_one("#try-signature", Static).update(text)
        if engine is None:
            return
        try:
            body = engine.example_body(self._model, signature.name)
        except TfServeError as error:
            self._say(str(error))
            return
        if by_sentence:
            self.query_one("#try-sentence", Input).value = _first_sentence(body)
        else:
            self.query_one("#try-body", TextArea).text = body.decode()
        self._focus_input()

    def _focus_input(self) -> None:
        self.query_one("#try-sentence" if takes_sentence(self._signature) else "#try-body").focus()

    def _body(self) -> bytes:
        if takes_sentence(self._signature):
            return sentence_body(self._signature, self.query_one("#try-sentence", Input).value)
        return self.query_one("#try-body", TextArea).text.encode()

    async def _send(self) -> None:
        engine = self.conductor.engine
        if engine is None:
            return
        self._say("sending …")
        self._trial = await engine.try_it(self._body())
        self._say(difference_text(self._trial))
        for reply in self._trial.replies:
            box = self.query_one(f"#try-{reply.server}")
            took = f"{formatting.significant(reply.ms)} ms, one request"
            box.border_title = f"{server_glyph(reply.server)} {reply.server}  {took}"
            text = f"✗ {reply.problem}" if reply.problem else json.dumps(reply.answer, indent=2, ensure_ascii=False)
            box.query_one(Static).update(Text(text))

    def _say(self, sentence: str) -> None:
        self.query_one("#try-difference", Static).update(sentence)


def _first_sentence(body: bytes) -> str:
    """The sentence of an example body; empty when it is one of bytes."""
    document = json.loads(body)
    values = document.get("instances") or list(document.get("inputs", {}).values())
    first = values[0] if isinstance(values, list) and values else ""
    return first if isinstance(first, str) else ""
