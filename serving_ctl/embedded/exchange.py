"""One request and its answer, as they pass between a connection and what answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Request(NamedTuple):
    """What was asked: ``path`` as it was sent, with its query (the real server matches both as one)."""

    method: str
    path: str
    body: bytes
    packed: bool = False  # with gzip


@dataclass(frozen=True)
class Answer:
    """What goes back: HTTP status, body, content type, and the Server-Timing value of a prediction."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    timing: bytes = b""


NOT_TAKEN = Answer(400, b"", b"text/html; charset=ISO-8859-1")
"""The answer to what is no HTTP or has a method that nobody may use here."""
