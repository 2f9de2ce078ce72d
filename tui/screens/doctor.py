"""The doctor's panel: what a start needs, what is wrong with it, and why the last start failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.screen import ModalScreen

from serving_ctl.errors import TfServeError
from tui import keys
from tui.drawing import Line, Span, line, plain, wrap
from tui.widgets.drawn import Drawn

MARKS = {"ok": ("✓", "better"), "warn": ("!", "warn"), "fail": ("✗", "worse")}
ORDER = ("fail", "warn", "ok")


def finding_lines(findings: Sequence[Any], width: int) -> list[Line]:
    """One or more lines a finding, what bars a start first, each fix below its finding."""
    lines: list[Line] = []
    columns = max((len(finding.key) for finding in findings), default=0)
    indent = " " * (columns + 4)
    room = max(20, width - len(indent))
    for finding in sorted(findings, key=lambda one: ORDER.index(one.mark)):
        mark, role = MARKS[finding.mark]
        first, *rest = wrap(finding.text, room) or [""]
        lines.append(line(Span(f"{mark} ", role), Span(f"{finding.key:<{columns}}  ", "strong"), first))
        lines += [line(indent + part) for part in rest]
        fix = wrap(f"→ {finding.fix}", room) if finding.fix else []
        lines += [line(Span(indent + part, "quiet")) for part in fix]
    return lines


class Findings(Drawn):
    """Sentences on top, findings below."""

    def __init__(self, sentence: str) -> None:
        super().__init__(id="findings")
        self.sentences = [sentence] if sentence else []
        self.findings: Sequence[Any] = ()
        self.note = "looking …"

    def draw(self, size: Size) -> Sequence[Line]:
        """As many lines as they take."""
        said = [line(Span(part, "worse")) for one in self.sentences for part in wrap(f"✗ {one}", size.width)]
        note = [line(Span(part, "quiet")) for part in wrap(self.note, size.width)]
        return [*said, *([()] if said else []), *finding_lines(self.findings, size.width), *note]


class DoctorScreen(ModalScreen[None]):
    """Asks ``examine`` when it is opened, and again by key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings("doctor"),
        Binding("escape,q,enter", "app.pop_screen", "close"),
    ]
    DEFAULT_CSS = """
    DoctorScreen {
        align: center middle;
        #doctor { width: 100; max-width: 96%; height: auto; max-height: 92%; border: round $accent;
                  background: $surface; padding: 0 1; border-title-style: bold; }
    }
    """

    def __init__(self, examine: Callable[[], Awaitable[Sequence[Any]]], sentence: str = "") -> None:
        super().__init__()
        self._examine = examine
        self._sentence = sentence

    def compose(self) -> ComposeResult:
        """One scrolling sheet."""
        with VerticalScroll(id="doctor") as sheet:
            sheet.border_title = "doctor: a server did not start" if self._sentence else "doctor"
            sheet.border_subtitle = f"{keys.hint('doctor')} · Escape closes"
            yield Findings(self._sentence)

    def on_mount(self) -> None:
        """Look."""
        self.action_look()

    def add_sentence(self, sentence: str) -> None:
        """Another start failed."""
        findings = self.query_one(Findings)
        if sentence not in findings.sentences:
            findings.sentences.append(sentence)
            findings.redraw()

    def action_look(self) -> None:
        """Look again."""
        self.run_worker(self._look(), group="look", exclusive=True)

    def action_copy(self) -> None:
        """Sentences and findings as text."""
        findings = self.query_one(Findings)
        self.app.copy_to_clipboard("\n".join(plain(findings.draw(Size(100, 0)))))
        self.notify("The findings are copied.", markup=False)

    async def _look(self) -> None:
        shown = self.query_one(Findings)
        try:
            shown.findings, shown.note = await self._examine(), ""
        except TfServeError as error:
            shown.note = str(error)
        shown.redraw()
