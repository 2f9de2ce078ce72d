"""What can be done now, and otherwise why not: one place for the footer, the palette and the answer to a key."""

from __future__ import annotations

import msgspec

from serving_ctl.bench.progress import Progress
from serving_ctl.config import TF_SERVING
from tui import keys
from tui.drawing import KNOWN

SERVER_ACTIONS = {"run_preset", "toggle_servers", "restart_servers", "hard_stop", "cancel_run", "update", "first_step"}
STEERING = {"pause", "skip_cell", "change_clients"}
ENGINE_DIALOGS = {"workers", "containers", "doctor", "preset", "flags", "configs"}
QUIET_DIALOGS = {"workers", "containers", "doctor"}
"""Dialogs that ask the servers or the machine, which a run must not be disturbed by (R11)."""
START_DIALOGS = {"flags", "configs"}
"""Dialogs that change what the next start is given."""
REPLAY = "This is a replay: no servers behind it. {open_export} exports the recorded run, {quit} quits."
NOT_OPEN = "Still looking for running servers; one moment."
EARLY = {"run_preset", "toggle_servers", "first_step"}
"""Keys that are kept while the engine is still being loaded, and done when it is."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what is possible."""

    is_replay: bool = False
    is_open: bool = False
    """The engine is there and has found what runs."""
    is_early: bool = False
    """A key waits for the engine."""
    is_running: bool = False
    is_measuring: bool = False
    """The run can be steered: its servers are up and cells are being measured."""
    is_paused: bool = False
    is_moving: bool = False
    """A server is being started or stopped."""
    has_run: bool = False
    """There is a run to show and export."""
    servers_up: frozenset[str] = frozenset()
    preset_keys: frozenset[str] = frozenset()
    problem: str = ""
    """Why no run can begin."""
    can_export_model: bool = False
    """The problem is a missing model, which this program can make."""
    servers: tuple[str, ...] = KNOWN
    pane: str = "bench"
    """Id of the pane in sight."""
    card: str = ""
    """The server whose card has the focus: the keys for servers mean it alone."""
    is_typing: bool = False
    """A text has the focus: single keys go into it."""
    is_short: bool = False
    """Few rows: the details of a row are shown when they are asked for."""

    @property
    def all_up(self) -> bool:
        """True when every server answers."""
        return self.servers_up.issuperset(self.servers)

    @property
    def meant(self) -> str:
        """Which servers the keys mean: one by name, both, or all."""
        return self.card or ("both" if len(self.servers) == len(KNOWN) else "all")


def what_matters(progress: Progress) -> tuple[object, ...]:
    """What of ``progress`` may change what is possible."""
    states = tuple((name, changed.state) for name, changed in progress.servers.items())
    return (states, progress.run is not None, progress.is_running, progress.started)


def obstacle(now: Situation, action: str, argument: str = "") -> str:
    """Why ``action`` is not possible now, in one sentence that says what is; empty when it is possible."""
    needs_engine = action in SERVER_ACTIONS | STEERING or (action == "open" and argument in ENGINE_DIALOGS)
    if action == "cancel_run" and now.is_early:
        return ""
    if needs_engine and (now.is_replay or not now.is_open):
        return keys.say(REPLAY) if now.is_replay else NOT_OPEN
    said = ""
    match action:
        case "run_preset":
            said = _run_obstacle(now, argument)
        case "first_step":
            said = _first_step_obstacle(now)
        case "toggle_servers" | "restart_servers":
            said = _server_obstacle(now, action)
        case "hard_stop":
            said = _stop_obstacle(now)
        case "pause" | "skip_cell" | "change_clients" if not now.is_measuring:
            said = "Nothing is being measured; a number key runs a preset."
        case "cancel_run" if not (now.is_running or now.is_moving):
            said = "Nothing to cancel: no run is on and no server is being started."
        case "leave_text" if not now.is_typing:
            said = "No text has the focus."
        case "open":
            said = _dialog_obstacle(now, argument)
        case "step_table" if not now.has_run:
            said = "No run to show or export yet; a number key runs a preset."
    return keys.say(said)


def _dialog_obstacle(now: Situation, dialog: str) -> str:
    if dialog == "export" and not now.has_run:
        return "No run to show or export yet; a number key runs a preset."
    if dialog in QUIET_DIALOGS and now.is_running:
        return "A run is on and is not disturbed; {cancel_run} cancels it."
    if dialog in START_DIALOGS and now.is_running:
        return "A run is on and keeps its servers as they are; {cancel_run} cancels it."
    if dialog in START_DIALOGS and now.is_moving:
        return "A server is still on its way; wait for it, or {toggle_servers} calls that off."
    return _parts_obstacle(now) if dialog == "workers" else ""


def _parts_obstacle(now: Situation) -> str:
    """Why there are no tasks of tf-serving, its card being in focus, or else no workers of flask."""
    if now.card == TF_SERVING:
        return "" if TF_SERVING in now.servers_up else "tf-serving is not running, so it has no tasks."
    if "flask" not in now.servers_up:
        return "flask is not running, so it has no workers; {toggle_servers} starts it."
    return ""


def _server_obstacle(now: Situation, action: str) -> str:
    if now.is_running:
        return "A run is on and needs its servers; {cancel_run} cancels it."
    if action == "restart_servers" and now.is_moving:
        return "A server is still on its way; {toggle_servers} calls that off."
    return now.problem


def _stop_obstacle(now: Situation) -> str:
    if now.is_running:
        return "A run is on and needs its servers; {cancel_run} cancels it."
    return "" if now.servers_up else f"No server is up; {{toggle_servers}} starts {now.meant}."


def _first_step_obstacle(now: Situation) -> str:
    if now.has_run or now.is_running or now.is_moving:
        return "The first step is done; number keys run presets."
    return "" if now.can_export_model else now.problem


def _run_obstacle(now: Situation, key: str) -> str:
    if now.is_running:
        return "A run is on already; {cancel_run} cancels it."
    if key not in now.preset_keys:
        return f"No preset has the key {key}; the Bench pane lists them."
    if now.is_moving:
        return "A server is still on its way; wait for it, or {toggle_servers} calls that off."
    return now.problem
