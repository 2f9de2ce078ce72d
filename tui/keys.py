"""Every key, declared once: bindings, footer, help screen and the README's table of keys all come from here."""

from __future__ import annotations

import re
from typing import NamedTuple

from textual.binding import Binding


class Key(NamedTuple):
    """One line of the table of keys."""

    place: str
    """Where the key works: ``main`` everywhere outside dialogs, ``table`` in the ratio table."""
    keys: str
    """Textual's names, with commas between alternatives."""
    action: str
    label: str
    """One or two words for the footer."""
    help: str
    shown: str = ""
    """How the keys are written for people; empty takes ``keys``."""
    in_footer: bool = False


PRESET_KEYS = "0123456789"

KEYS = (
    Key("main", ",".join(PRESET_KEYS), "run_preset", "run", "Run the preset of that number", "0 … 9", True),
    Key("main", "s", "toggle_servers", "start/stop", "Start what is stopped, else stop both servers; again during a "
        "start: call it off. With a server card in focus: that server alone", in_footer=True),
    Key("main", "r", "restart_servers", "restart", "Restart both servers, or the one in focus", in_footer=True),
    Key("main", "c", "cancel_run", "cancel", "Cancel the run or a start; finished cells are kept", in_footer=True),
    Key("main", "e", "export", "export", "Export the run as Markdown", in_footer=True),
    Key("main", "left_square_bracket,left", "step_table(-1)", "", "Previous table of the run", "[ or ←"),
    Key("main", "right_square_bracket,right", "step_table(1)", "", "Next table of the run", "] or →"),
    Key("main", "b", "show_pane('bench')", "", "Bench pane: the measurement"),
    Key("main", "m", "show_pane('model')", "", "Model pane: what the servers serve"),
    Key("main", "l", "show_pane('logs')", "", "Logs pane: what the servers wrote"),
    Key("main", "u,f5", "update_model", "", "Model pane: ask the servers again", "u or F5"),
    Key("main", "question_mark,f1", "help", "help", "This help", "? or F1", True),
    Key("main", "q,ctrl+q", "quit", "quit", "Quit; asks what becomes of servers that were started here", "q", True),
    Key("main", "ctrl+c", "interrupt", "", "Cancel the run; without one: quit", "ctrl+c"),
    Key("table", "up,k", "move(-1)", "", "Row above", "↑ or k"),
    Key("table", "down,j", "move(1)", "", "Row below", "↓ or j"),
    Key("table", "home", "move(-10000)", "", "First row"),
    Key("table", "end", "move(10000)", "", "Last row"),
    Key("table", "enter", "toggle_details", "", "Small screens: details of the row in place of the chart"),
)  # fmt: skip
FROM_TEXTUAL = (("tab, shift+tab", "Next, previous part of the screen"), ("ctrl+p", "All commands by name"))


def written(key: Key) -> str:
    """The key as people read it."""
    return key.shown or key.keys


def bindings(place: str) -> list[Binding]:
    """Textual's bindings of one place."""
    return [binding for key in KEYS if key.place == place for binding in _bindings(key)]


def commands() -> list[Key]:
    """What the command palette offers beside the presets."""
    return [key for key in KEYS if key.place == "main" and key.action not in {"run_preset", "interrupt"}]


def help_rows() -> list[tuple[str, str]]:
    """(keys, what they do) in the order of the table."""
    return [*((written(key), key.help) for key in KEYS), *FROM_TEXTUAL]


def _bindings(key: Key) -> list[Binding]:
    if key.action == "run_preset":
        return [Binding(digit, f"run_preset('{digit}')", key.label, tooltip=key.help) for digit in key.keys.split(",")]
    first, _, _ = key.shown.partition(" ")
    return [
        Binding(
            key.keys,
            key.action,
            key.label or key.help,
            show=key.in_footer,
            key_display=first or None,
            tooltip=key.help,
            priority=key.keys.endswith("ctrl+q"),
        )
    ]


def command_name(key: Key) -> str:
    """What the command palette calls it: the help up to its first comma, colon or semicolon."""
    return re.split(r"[,;]", key.help)[0]
