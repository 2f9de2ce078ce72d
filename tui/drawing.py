"""Text in roles: what every drawn widget is made of, as plain values that tests compare as strings.

A line is a tuple of spans; a span is a text and the roles it plays (``tf-serving``, ``better``, ``quiet`` …), which the
style sheet turns into colours. No Textual and no numbers-to-text here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

KNOWN = ("tf-serving", "flask")
"""The servers that every machine has, in the order they are shown and compared (R17)."""
GLYPHS = "●■▲◆★✚"
"""Each server has its shape as well as its colour, so that none is told by colour alone."""
_met: dict[str, int] = {server: place for place, server in enumerate(KNOWN)}
"""Each server's place among the looks: further ones take the next when they are first drawn, and keep it in the cards,
charts and tables of this process."""


class Span(NamedTuple):
    """A piece of a line; ``role`` is one or more role names with spaces between them."""

    text: str
    role: str = ""


Line = tuple[Span, ...]


def meet(servers: Iterable[str]) -> None:
    """Begin anew with the looks: ``servers`` take theirs in this order."""
    _met.clear()
    _met.update((server, place) for place, server in enumerate(KNOWN))
    for server in servers:
        _place(server)


def server_glyph(server: str) -> str:
    """The shape that stands for a server everywhere."""
    return GLYPHS[_place(server)]


def server_role(server: str) -> str:
    """The role that gives a server its colour: ``tf-serving``, ``flask``, then ``server-3`` to ``server-6``."""
    place = _place(server)
    return KNOWN[place] if place < len(KNOWN) else f"server-{place + 1}"


def _place(server: str) -> int:
    return _met.setdefault(server, len(KNOWN) + (len(_met) - len(KNOWN)) % (len(GLYPHS) - len(KNOWN)))


def line(*parts: Span | str) -> Line:
    """A line of spans; a bare string plays no role."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def plain(lines: Iterable[Line]) -> list[str]:
    """The lines as strings without roles, trailing blanks removed."""
    return ["".join(span.text for span in spans).rstrip() for spans in lines]


def line_width(spans: Line) -> int:
    """Terminal columns a line takes; a wide character takes two."""
    return sum(cell_len(span.text) for span in spans)


def with_role(spans: Line, role: str) -> Line:
    """The same line with one role more on every span."""
    return tuple(Span(span.text, f"{span.role} {role}".strip()) for span in spans)


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns; what was cut off is shown by an ellipsis."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""


def left(text: str, width: int) -> str:
    """``text`` at the left of exactly ``width`` columns."""
    return set_cell_size(cut(text, width), max(0, width))


def right(text: str, width: int) -> str:
    """``text`` at the right of exactly ``width`` columns."""
    shown = cut(text, width)
    return " " * (width - cell_len(shown)) + shown


def cut_line(spans: Line, width: int) -> Line:
    """A line in at most ``width`` columns."""
    kept: list[Span] = []
    room = width
    for span in spans:
        size = cell_len(span.text)
        if size > room:
            kept.append(Span(cut(span.text, room), span.role))
            break
        kept.append(span)
        room -= size
    return tuple(kept)


def flow(pieces: Sequence[Line], width: int, gap: int = 3) -> list[Line]:
    """Pieces set one after another with ``gap`` blanks; the next line is begun where one does not fit."""
    lines: list[Line] = []
    for piece in pieces:
        if lines and line_width(lines[-1]) + gap + line_width(piece) <= width:
            lines[-1] = (*lines[-1], Span(" " * gap), *piece)
        else:
            lines.append(piece)
    return [cut_line(spans, width) for spans in lines]


def apart(start: Line, end: Line, width: int) -> Line:
    """``start`` at the left and ``end`` at the right of one line; ``start`` gives way when both do not fit."""
    shown = cut_line(start, max(0, width - line_width(end) - 1))
    return (*shown, Span(" " * max(1, width - line_width(shown) - line_width(end))), *end)


def wrap(text: str, width: int) -> list[str]:
    """``text`` broken at blanks and behind hyphens into lines of at most ``width`` columns; long words are cut up."""
    lines = [""]
    for word in re.findall(r"[^\s-]*-+|[^\s-]+|\s+", " ".join(text.split())):
        if cell_len(lines[-1]) + cell_len(word.rstrip()) <= width:
            lines[-1] += word
            continue
        rest = word.lstrip()
        while cell_len(rest) > width > 0:
            head = _head(rest, width)
            lines.append(head)
            rest = rest[len(head) :]
        lines.append(rest)
    return [shown.rstrip() for shown in lines if shown.strip()]


def _head(text: str, width: int) -> str:
    """The first characters of ``text`` that fit ``width`` columns; one at least."""
    size = 1
    while size < len(text) and cell_len(text[: size + 1]) <= width:
        size += 1
    return text[:size]


def narrowest(text: str, lines: int, least: int = 0) -> int:
    """The smallest width from ``least`` on at which ``text`` wraps into ``lines`` lines or fewer, no word cut."""
    words = re.findall(r"[^\s-]*-+|[^\s-]+", text)
    start = max(least, max((cell_len(word) for word in words), default=0))
    widths = range(start, cell_len(text) + 1)
    return next((width for width in widths if len(wrap(text, width)) <= lines), cell_len(text))


def on_the_point(texts: Sequence[str]) -> list[str]:
    """Numbers padded behind so that, set to the right, their decimal points stand in one column."""
    behind = [len(text.partition(".")[2]) + 1 if _is_number(text) and "." in text else 0 for text in texts]
    most = max(behind, default=0)
    return [text + " " * (most - size) if _is_number(text) else text for text, size in zip(texts, behind, strict=True)]


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[\d,.]+", text))
