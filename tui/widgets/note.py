"""Sentences that are never cut off: they wrap."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size

from tui.drawing import Line, Span, flow, wrap
from tui.widgets.drawn import Drawn


class Note(Drawn):
    """What belongs under a table: the direction of the ratio, the formula, the meaning of flags."""

    DEFAULT_CSS = "Note { height: auto; }"

    def __init__(self, *, id: str | None = None, role: str = "quiet") -> None:  # noqa: A002
        super().__init__(id=id)
        self._role = role
        self._lead: Sequence[Span] = ()
        self._sentences: tuple[str, ...] = ()

    def say(self, *sentences: str, lead: Sequence[Span] = ()) -> None:
        """Show these sentences instead of the old ones, before them the pieces of ``lead`` in their own roles."""
        if (lead, sentences) != (self._lead, self._sentences):
            self._lead, self._sentences = lead, sentences
            self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """Each sentence from a new line on."""
        pieces = [(Span(text, span.role),) for span in self._lead for text in wrap(span.text, size.width)]
        said = [(Span(text, self._role),) for sentence in self._sentences for text in wrap(sentence, size.width)]
        return [*flow(pieces, size.width, gap=2), *said]
