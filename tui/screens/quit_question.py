"""What is asked before leaving while servers run; asked by ``ConfirmScreen``."""

from __future__ import annotations

from collections.abc import Sequence

from tui.screens.confirm import Answer


def quit_question(
    started: Sequence[str], adopted: Sequence[str], *, is_running: bool
) -> tuple[str, tuple[Answer, ...]]:
    """The question and its answers: ``stop`` those started here, ``all`` the adopted ones too, ``leave``, ``stay``."""
    sentences = []
    if started:
        sentences.append(f"Started here and still up: {' and '.join(started)}.")
    if adopted:
        sentences.append(f"Found running, from an earlier session: {' and '.join(adopted)}.")
    if is_running:
        sentences.append("A run is on and will be cancelled; its finished cells are kept.")
    sentences.append("What becomes of them?")
    answers = [Answer("l", "Leave running", "leave"), Answer("n", "Stay", "stay")]
    if adopted:
        answers.insert(0, Answer("a", "Stop all", "all"))
    if started:
        answers.insert(0, Answer("s", "Stop those started here" if adopted else "Stop them", "stop"))
    return " ".join(sentences), tuple(answers)
