"""The Try it pane: a sentence or a JSON body to all servers, their answers side by side, and how they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import HorizontalScroll, VerticalScroll
from textual.widgets import Input, Static, TextArea

from serving_ctl import formatting
from serving_ctl.bench.progress import Progress
from serving_ctl.errors import TfServeError
from tui import keys
from tui.conductor import Conductor, is_up
from tui.drawing import cut, server_glyph, server_role
from tui.inquiry import ask_model
from tui.json_text import json_text, shortened
from tui.panes.pane import Pane

ASK = "No server is up. {toggle_servers} starts them; then a sentence or a JSON body can be sent to all."
BUSY = "A run is on and is not disturbed; {cancel_run} cancels it."
LEAST_ROOM, HOW_COLUMNS = 20, 56
"""Columns for the names of signatures at least, and those for the words around them."""
STALE = "The body has changed: these answers are to an earlier one. "


def takes_sentence(signature: Any) -> bool:
    """True for a signature of one string a request, which a sentence can be typed for."""
    inputs = signature.inputs
    return len(inputs) == 1 and inputs[0].dtype == "string" and inputs[0].shape is not None and len(inputs[0].shape) < 2


def sentence_body(signature: Any, sentence: str) -> bytes:
    """The request for one sentence."""
    scalar = signature.inputs[0].shape == ()
    values = {"inputs": {signature.inputs[0].name: sentence}} if scalar else {"instances": [sentence]}
    return json.dumps({"signature_name": signature.name, **values}, ensure_ascii=False).encode()


def in_order_of(value: Any, first: Any) -> Any:
    """``value`` with the keys of its objects as ``first`` has them, so that two answers can be read side by side."""
    if isinstance(value, dict) and isinstance(first, dict):
        known = [key for key in first if key in value]
        return {key: in_order_of(value[key], first.get(key)) for key in (*known, *(value.keys() - first.keys()))}
    if isinstance(value, list) and isinstance(first, list):
        alike = [*first, *[None] * (len(value) - len(first))]
        return [in_order_of(one, other) for one, other in zip(value, alike, strict=False)]
    return value


def difference_text(trial: Any) -> str:
    """What is to be said of the answers together (R22)."""
    if trial.differs:
        return f"✗ the predictions differ: {trial.differs}"
    if trial.difference is None:
        return "Fewer than two answers: nothing to compare."
    same = "the predictions are the same" if trial.difference == 0 else "the predictions agree"
    return (
        f"✓ {same}: largest difference {formatting.magnitude(trial.difference)} (allowed 1e-4 relative, 1e-5 absolute)"
    )


class TryItPane(Pane, can_focus=True):
    """What to send above, what came back below."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("try")]
    DEFAULT_CSS = """
    TryItPane {
        #try-signature, #try-difference { height: auto; }
        #try-sentence { border: round $border; }
        #try-body { height: 8; border: round $border; }
        #try-sentence:focus, #try-body:focus { border: round $accent; }
        #try-sentence, #try-body, #try-answers { display: none; }
        &.-sentence #try-sentence, &.-body #try-body, &.-sentence #try-answers, &.-body #try-answers { display: block; }
        #try-answers { height: 1fr; layout: horizontal; }
        .try-answer { min-width: 36; border: round $border; border-title-style: bold; padding: 0 1;
                      border-subtitle-color: $quiet; scrollbar-size: 1 1; }
        .try-answer:focus { border: round $accent; }
        .try-answer.-tf-serving { border-title-color: $server-tf-serving; }
        .try-answer.-flask { border-title-color: $server-flask; }
        .try-answer.-server-3 { border-title-color: $server-3; }
        .try-answer.-server-4 { border-title-color: $server-4; }
        .try-answer.-server-5 { border-title-color: $server-5; }
        .try-answer.-server-6 { border-title-color: $server-6; }
        &.-stale .try-answer { color: $quiet; border-title-color: $quiet; }
        &.-stale #try-difference { color: $warn; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._model: Any = None
        self._chosen = 0
        self._trial: Any = None
        self._sent = b""
        """The body that ``_trial`` answers."""
        self._answers = {server: _answer_box(server, len(conductor.servers)) for server in conductor.servers}
        """Where the answer of each server is shown."""

    def compose(self) -> ComposeResult:
        """Signature, input, difference, answers."""
        yield Static(keys.say(ASK), id="try-signature", markup=False)
        yield Input(placeholder="a sentence; Enter sends it to all servers", id="try-sentence")
        yield TextArea(id="try-body", language=None, show_line_numbers=False, soft_wrap=True, tab_behavior="focus")
        yield Static("", id="try-difference", markup=False)
        with HorizontalScroll(id="try-answers", can_focus=False):
            yield from self._answers.values()

    def opened(self) -> None:
        """Take the keyboard; learn the signatures when they are not known yet."""
        if self._model is not None:
            self._focus_input()
        elif self.conductor.is_running:
            self._explain(keys.say(BUSY))
        elif self.conductor.engine is not None:
            self.run_worker(self._learn(), group="try", exclusive=True)

    def update_now(self) -> None:
        """Learn the signatures anew."""
        self._model = None
        self.opened()

    def watch_progress(self, progress: Progress) -> None:
        """A server came up while the pane is waiting for one."""
        if self._model is None and self.in_sight and any(is_up(progress, one) for one in self.conductor.servers):
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
        try:
            body = json.loads(self._sent)
        except ValueError:  # what was typed may be no JSON; the servers were asked nevertheless
            body = self._sent.decode()
        return json_text({"body": body, "answers": answers})

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter sends the sentence."""
        event.stop()
        self.action_send()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The answers below may be to another sentence now."""
        event.stop()
        self._judge_age()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """The answers below may be to another body now."""
        event.stop()
        self._judge_age()

    def action_send(self) -> None:
        """Send to all servers."""
        if self._model is None or self.conductor.engine is None:
            self.opened()
        elif self.conductor.is_running:
            self._say(keys.say(BUSY))
        else:
            self.run_worker(self._send(self._body()), group="try", exclusive=True)

    def action_leave_text(self) -> None:
        """Give the single keys back."""
        self.focus()

    @property
    def _signature(self) -> Any:
        return self._model.signatures[self._chosen]

    async def _learn(self) -> None:
        """The signatures, from the first server that says them; the text one first, for it is the nicest to try."""
        engine, problem = self.conductor.engine, ""
        if engine is None:
            return
        for server in (one for one in self.conductor.servers if is_up(self.progress, one)):
            served = await ask_model(engine, server, self.progress)
            if served.model is not None and served.model.signatures:
                self._model = served.model
                sentences = [n for n, one in enumerate(served.model.signatures) if takes_sentence(one)]
                self._chosen = sentences[0] if sentences else 0
                self.call_after_refresh(self._show_signature)  # the pane has its width then
                return
            problem = f"{server}: {served.problem or 'its model has no signature.'}"
        self._explain(problem or self.conductor.problem or keys.say(ASK))

    def _explain(self, why: str) -> None:
        """Say why nothing can be sent; there is no place to type."""
        self.remove_class("-sentence", "-body")
        self.query_one("#try-signature", Static).update(why)
        self._say("")
        self.focus()

    def _show_signature(self) -> None:
        """The input for the chosen signature, filled with an example."""
        engine, signature = self.conductor.engine, self._signature
        if engine is None:
            return
        by_sentence = takes_sentence(signature)
        self.set_class(by_sentence, "-sentence")
        self.set_class(not by_sentence, "-body")
        names = [one.name for one in self._model.signatures]
        how = "Enter sends" if by_sentence else keys.say("{try_send} sends")
        more = keys.say(" · {try_leave_text} and {next_view}: next signature") if len(names) > 1 else ""
        shown = signature_text(names, self._chosen, max(LEAST_ROOM, self.size.width - HOW_COLUMNS))
        self.query_one("#try-signature", Static).update(f"{shown}   ({how}{more})")
        try:
            body, said = engine.example_body(self._model, signature.name), ""
        except TfServeError as error:
            body, said = b"", str(error)
        if by_sentence:
            self.query_one("#try-sentence", Input).value = _first_sentence(body)
        else:
            self.query_one("#try-body", TextArea).text = body.decode()
        self._say(said)
        self._judge_age()
        self._focus_input()

    def _focus_input(self) -> None:
        self.query_one("#try-sentence" if takes_sentence(self._signature) else "#try-body").focus()

    def _body(self) -> bytes:
        if takes_sentence(self._signature):
            return sentence_body(self._signature, self.query_one("#try-sentence", Input).value)
        return self.query_one("#try-body", TextArea).text.encode()

    async def _send(self, body: bytes) -> None:
        engine = self.conductor.engine
        if engine is None:
            return
        self._say("sending …")
        try:
            self._trial, self._sent = await engine.try_it(body), body
        except TfServeError as error:
            self._say(str(error))
            return
        replies = {reply.server: reply for reply in self._trial.replies}
        first = next((reply.answer for reply in self._trial.replies if reply.answer is not None), None)
        for server, box in self._answers.items():
            self._show_reply(server, box, replies.get(server), first)
        self._judge_age()

    def _show_reply(self, server: str, box: VerticalScroll, reply: Any, first: Any) -> None:
        box.border_title = f"{server_glyph(server)} {server}"
        if reply is None:
            text = keys.say("Not running; {toggle_servers} starts it.")
        else:
            box.border_title += f"  {formatting.significant(reply.ms)} ms"
            box.border_subtitle = "one request"
            text = f"✗ no prediction\n\n{reply.problem}" if reply.problem else _answer_text(reply.answer, first)
        box.query_one(Static).update(Text(text))
        box.scroll_home(animate=False)

    def _judge_age(self) -> None:
        """Say what the answers in sight are worth: how they differ, or that they are to another body."""
        if self._trial is None or self._model is None:
            return
        is_stale = self._body() != self._sent
        self.set_class(is_stale, "-stale")
        how = "Enter sends it." if takes_sentence(self._signature) else keys.say("{try_send} sends it.")
        self._say(STALE + how if is_stale else difference_text(self._trial))

    def _say(self, sentence: str) -> None:
        self.query_one("#try-difference", Static).update(sentence)


def _answer_text(answer: Any, first: Any) -> str:
    return shortened(json_text(in_order_of(answer, first)))


def _answer_box(server: str, number: int) -> VerticalScroll:
    """A place for the answer of one of ``number`` servers; many scroll to the side."""
    box = VerticalScroll(Static("", markup=False), classes=f"try-answer -{server_role(server)}")
    box.border_title = f"{server_glyph(server)} {server}"
    box.styles.width = f"{100 / number}%"
    return box


def signature_text(names: Sequence[str], chosen: int, width: int) -> str:
    """All signatures with the chosen one marked, or it alone where they do not fit a line."""
    shown = "  ".join(f"▸{name}" if number == chosen else name for number, name in enumerate(names))
    if cell_len(shown) <= width:
        return f"signature  {shown}"
    return f"signature {chosen + 1} of {len(names)}  ▸{cut(names[chosen], width)}"


def _first_sentence(body: bytes) -> str:
    """The sentence of an example body; empty when it is one of bytes, or there is none."""
    document = json.loads(body or b"{}")
    values = document.get("instances") or list(document.get("inputs", {}).values())
    first = values[0] if isinstance(values, list) and values else ""
    return first if isinstance(first, str) else ""
