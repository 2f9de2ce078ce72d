"""Sentences that are never cut off: they wrap."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size

from tui.drawing import Line, Span, wrap
from tui.widgets.drawn import Drawn


class Note(Drawn):
    """What belongs under a table: the direction of the ratio, the formula, the meaning of flags."""

    DEFAULT_CSS = "Note { height: auto; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._sentences: tuple[str, ...] = ()

    def say(self, *sentences: str) -> None:
        """Show these sentences instead of the old ones."""
        if sentences != self._sentences:
            self._sentences = sentences
            self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """Each sentence from a new line on."""
        return [(Span(text, "quiet"),) for sentence in self._sentences for text in wrap(sentence, size.width)]
