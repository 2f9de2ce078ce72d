"""Every key, declared once: bindings, footer, help screen and the README's table of keys all come from here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from textual.binding import Binding

from serving_ctl.config import nearest
from serving_ctl.errors import ConfigError

PRESET_KEYS = "0123456789"
ALWAYS, BENCH, IDLE, RUNNING = "always", "bench", "idle", "running"
"""When the footer shows a key: at any time; on the Bench pane at any time, while no run is on, or during one."""

PLACES = {
    "main": "Everywhere",
    "table": "Ratio table",
    "try": "Try it pane",
    "logs": "Logs pane",
    "history": "History pane",
    "workers": "Dialog: workers",
    "tasks": "Dialog: tasks",
    "containers": "Dialog: Docker containers",
    "doctor": "Dialog: doctor",
    "preset": "Dialog: preset",
    "flags": "Dialog: flags",
    "configs": "Dialog: config files",
    "export": "Dialog: export",
    "written": "Dialog: export, once written",
}
"""Where keys work, in the order of help and README."""


class Key(NamedTuple):
    """One line of the table of keys."""

    place: str
    """One of ``PLACES``."""
    keys: str
    """Textual's names, with commas between alternatives."""
    action: str
    label: str
    """One or two words for the footer."""
    help: str
    shown: str = ""
    """How the keys are written for people; empty takes ``keys``."""
    footer: str = ""
    """``ALWAYS``, ``BENCH``, ``IDLE`` or ``RUNNING``; empty for a key that the footer of the Bench pane leaves out."""

    @property
    def verb(self) -> str:
        """The action without its argument."""
        return self.action.partition("(")[0]

    @property
    def argument(self) -> str:
        """The action's argument as text; empty without one."""
        return self.action.partition("(")[2].rstrip(")").strip("'")

    @property
    def id(self) -> str:
        """What ``[ui.keys]`` calls it: ``pause``, ``step_table_minus_1``, ``open_workers``, ``logs_follow``."""
        name = f"{self.verb}_{self.argument.replace('-', 'minus_')}" if self.argument else self.verb
        return name if self.place == "main" else f"{self.place}_{name}"


KEYS = (
    Key("main", ",".join(PRESET_KEYS), "run_preset", "run", "Run the preset of that number", "0 … 9", IDLE),
    Key("main", "enter", "first_step", "first run", "Do what the first screen offers, before the first run", "Enter",
        IDLE),
    Key("main", "s", "toggle_servers", "start/stop", "Start what is stopped, else stop both servers; again during a "
        "start: call it off. With a server card in focus: that server alone", footer=IDLE),
    Key("main", "r", "restart_servers", "restart", "Restart both servers, or the one in focus", footer=IDLE),
    Key("main", "x", "hard_stop", "", "Stop both servers, or the one in focus, without waiting for their requests"),
    Key("main", "p", "pause", "pause", "Pause the run, or go on with it", footer=RUNNING),
    Key("main", "c", "cancel_run", "cancel", "Cancel the run or a start; finished cells are kept", footer=RUNNING),
    Key("main", "n", "skip_cell", "skip cell", "Skip the cell being measured; what it has measured is kept",
        footer=RUNNING),
    Key("main", "plus,equals_sign", "change_clients(1)", "client", "One client more in the cell being measured",
        "+ or =", RUNNING),
    Key("main", "minus", "change_clients(-1)", "client", "One client fewer in the cell being measured", "-", RUNNING),
    Key("main", "e", "open('export')", "export", "Export the run as a file; its ending is the format", footer=IDLE),
    Key("main", "i", "open('picture')", "", "Save a picture of the screen as SVG"),
    Key("main", "o", "open('preset')", "", "Preset form: change a preset for this session, or save it"),
    Key("main", "v", "next_view", "view", "Another view: ticks, sizes or histogram (Bench); JSON, curl, Python or gRPC "
        "(Model); signature (Try it); severity (Logs)", footer=BENCH),
    Key("main", "left_square_bracket,left", "step_table(-1)", "", "Previous table of the run", "[ or ←"),
    Key("main", "right_square_bracket,right", "step_table(1)", "table", "Next table of the run", "] or →", BENCH),
    Key("main", "y", "copy", "", "Copy what the pane shows: table, snippet, answers, log lines"),
    Key("main", "z", "maximise", "", "The pane takes the whole screen, or gives it back"),
    Key("main", "b", "show_pane('bench')", "", "Bench pane: the measurement"),
    Key("main", "m", "show_pane('model')", "", "Model pane: what the servers serve"),
    Key("main", "t", "show_pane('try')", "", "Try it pane: one request to both servers"),
    Key("main", "l", "show_pane('logs')", "", "Logs pane: what the servers wrote"),
    Key("main", "h", "show_pane('history')", "", "History pane: earlier runs"),
    Key("main", "u,f5", "update", "", "Ask again: Model, Try it, History", "u or F5"),
    Key("main", "w", "open('workers')", "", "Workers of flask: add, remove, replace; with tf-serving's card in "
        "focus the tasks of its Swarm service"),
    Key("main", "d", "open('containers')", "", "TensorFlow Serving containers, and the docker command of a start"),
    Key("main", "a", "open('doctor')", "", "Doctor: what a start needs and what is wrong with it"),
    Key("main", "f", "open('flags')", "", "Flags of tf-serving: set them for this session, or save them"),
    Key("main", "g", "open('configs')", "", "Config files of tf-serving: models, monitoring, batching"),
    Key("main", "question_mark,f1", "help", "help", "Help: the keys of the pane in sight, then all others", "? or F1",
        ALWAYS),
    Key("main", "q,ctrl+q", "quit", "quit", "Quit; asks what becomes of servers that still run", "q", ALWAYS),
    Key("main", "ctrl+c", "interrupt", "", "Cancel the run; without one: quit", "Ctrl-C"),
    Key("table", "up,k", "move(-1)", "", "Row above", "↑ or k"),
    Key("table", "down,j", "move(1)", "", "Row below", "↓ or j"),
    Key("table", "home", "move(-10000)", "", "First row", "Home"),
    Key("table", "end", "move(10000)", "", "Last row", "End"),
    Key("table", "enter", "toggle_details", "details", "Small screens: details of the row in place of the chart",
        "Enter"),
    Key("try", "ctrl+r", "send", "send", "Send the body to both servers (Enter in the sentence does too)", "Ctrl-R"),
    Key("try", "escape", "leave_text", "leave the text", "Leave the text, so that single keys work again", "Escape"),
    Key("logs", "slash", "filter", "filter", "Show the lines that hold a text only; empty shows all", "/"),
    Key("logs", "escape", "show_all", "", "Show all lines again: any text, any severity", "Escape"),
    Key("logs", "f", "follow", "follow", "Follow the end, or stay where you are"),
    Key("logs", "g", "first_error", "first error", "Go to the first error"),
    Key("logs", "up,k", "scroll(-1)", "", "Line above", "↑ or k"),
    Key("logs", "down,j", "scroll(1)", "", "Line below", "↓ or j"),
    Key("logs", "pageup", "scroll(-20)", "", "20 lines up", "PgUp"),
    Key("logs", "pagedown", "scroll(20)", "", "20 lines down", "PgDn"),
    Key("history", "enter", "open_run", "open", "Show the run on the Bench pane", "Enter"),
    Key("history", "space", "mark", "mark", "Mark a run to compare it with the one under the cursor", "Space"),
    Key("history", "k", "compare", "compare", "Compare the marked run with the one under the cursor"),
    Key("history", "e", "export_run", "export", "Export the run under the cursor"),
    Key("history", "delete", "delete_run", "delete", "Delete the run; asks first", "Delete"),
    Key("workers", "plus,equals_sign", "change(1)", "add", "One worker more", "+ or ="),
    Key("workers", "minus", "change(-1)", "remove", "One worker fewer, the oldest", "-"),
    Key("workers", "r", "replace", "replace", "End the worker when it has answered; another is started"),
    Key("tasks", "plus,equals_sign", "change(1)", "add", "One task more", "+ or ="),
    Key("tasks", "minus", "change(-1)", "remove", "One task fewer", "-"),
    Key("containers", "a", "adopt", "adopt", "Take the container as our tf-serving"),
    Key("containers", "k", "stop", "stop", "Stop and remove the container; a second time does it"),
    Key("containers", "y", "copy", "copy command", "Copy the docker command"),
    Key("doctor", "u", "look", "look again", "Look again"),
    Key("doctor", "y", "copy", "copy", "Copy the findings"),
    Key("preset", "ctrl+r", "run", "run now", "Run the preset as it stands in the form", "Ctrl-R"),
    Key("preset", "ctrl+t", "keep", "keep", "Keep the preset for this session", "Ctrl-T"),
    Key("preset", "ctrl+s", "save", "save", "Write the preset into the user's file", "Ctrl-S"),
    Key("flags", "slash", "find", "find", "Show the flags that hold a text only", "/"),
    Key("flags", "delete,d", "default", "default", "The server's default for the flag under the cursor", "d or Delete"),
    Key("flags", "a", "use", "use", "Use the flags in this session, from the next start on"),
    Key("flags", "s", "save", "save", "Use them, and write them into the settings file"),
    Key("configs", "ctrl+s", "save", "save", "Check the text and write the user's own file", "Ctrl-S"),
    Key("configs", "ctrl+n", "next_file", "next file", "Another file; changes stay", "Ctrl-N"),
    Key("configs", "ctrl+o", "effective", "effective", "The file that the last start was given, and back", "Ctrl-O"),
    Key("export", "down", "next_format", "format", "Another ending, so another format", "↓"),
    Key("written", "y", "copy", "copy path", "Copy the file's path"),
)  # fmt: skip
BEFORE_TEXT = ("flags_find", "logs_filter")
"""Keys after which a text is typed: Textual does these before it looks at the next key, so that none goes elsewhere."""
FROM_TEXTUAL = (("Tab, Shift-Tab", "Next, previous part of the screen"), ("Ctrl-P", "All commands by name"))


_chosen: dict[str, str] = {}
"""``[ui.keys]``. Like a locale it is one for the process, so that every sentence can name the keys that work."""


def choose(chosen: Mapping[str, str]) -> None:
    """Take these keys, by id, in place of ours. Raises ConfigError with the nearest id for an unknown one."""
    known = [key.id for key in KEYS if key.action != "run_preset"]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"[ui.keys] {name!r} is no key's id; {nearest(name, known)}")
    _chosen.clear()
    _chosen.update(chosen)


def table() -> tuple[Key, ...]:
    """All keys, those that the user chose in place of ours."""
    return tuple(key._replace(keys=_chosen[key.id], shown="") if key.id in _chosen else key for key in KEYS)


def written(key: Key) -> str:
    """The key with its alternatives, as people read it."""
    return key.shown or key.keys


def short(key: Key) -> str:
    """The first of a key's alternatives."""
    return written(key).partition(" ")[0].partition(",")[0]


def say(sentence: str) -> str:
    """``sentence`` with the key in place of each ``{id}``: "{toggle_servers} starts both" → "s starts both"."""
    names = {key.id: short(key) for key in table()}
    return re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], found[0]), sentence)


def bindings(place: str) -> list[Binding]:
    """Textual's bindings of one place."""
    return [binding for key in KEYS if key.place == place for binding in _bindings(key)]


def hint(place: str) -> str:
    """The labelled keys of a place in one line, for the border of its pane or dialog."""
    return " · ".join(f"{short(key)} {key.label}" for key in table() if key.place == place and key.label)


def commands() -> list[Key]:
    """What the command palette offers beside the presets."""
    return [key for key in table() if key.place == "main" and key.action not in {"run_preset", "interrupt"}]


def help_rows(place: str) -> list[tuple[str, str]]:
    """(keys, what they do) of one place, in the order of the table."""
    rows = [(written(key), key.help) for key in table() if key.place == place]
    return [*rows, *FROM_TEXTUAL] if place == "main" else rows


def markdown() -> str:
    """The README's table of keys, with the ids that ``[ui.keys]`` takes."""
    lines = ["| where | key | what | id |", "|---|---|---|---|"]
    for place, title in PLACES.items():
        for key in (key for key in KEYS if key.place == place):
            name = "" if key.action == "run_preset" else f"`{key.id}`"
            lines.append(f"| {title} | {written(key)} | {key.help} | {name} |")
    lines += [f"| {PLACES['main']} | {shown} | {what} | |" for shown, what in FROM_TEXTUAL]
    return "\n".join(lines) + "\n"


def command(key: Key) -> tuple[str, str]:
    """(name, help) in the command palette: the first clause of the key's help; the key, and the rest of its help."""
    name, *rest = re.split(r"[,;:] ", key.help, maxsplit=1)
    return name, " · ".join([f"key {written(key)}", *rest])


def _bindings(key: Key) -> list[Binding]:
    if key.action == "run_preset":
        return [
            Binding(digit, f"run_preset('{digit}')", key.label, tooltip=key.help, id=f"run_preset_{digit}")
            for digit in key.keys.split(",")
        ]
    first, _, _ = key.shown.partition(" ")
    return [
        Binding(
            key.keys,
            key.action,
            key.label or key.help,
            show=bool(key.footer),
            key_display=first or None,
            tooltip=key.help,
            priority=key.keys.endswith("ctrl+q") or key.id in BEFORE_TEXT,
            id=key.id,
        )
    ]
