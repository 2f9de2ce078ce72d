"""What can be done now, and otherwise why not: one place for the footer, the palette and the answer to a key."""

from __future__ import annotations

import msgspec

SERVER_ACTIONS = {"run_preset", "toggle_servers", "restart_servers", "cancel_run", "update_model"}
REPLAY = "This is a replay: no servers behind it. e exports the recorded run, q quits."


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what is possible."""

    is_replay: bool = False
    is_open: bool = False
    """The engine is there."""
    is_running: bool = False
    is_moving: bool = False
    """A server is being started or stopped."""
    has_run: bool = False
    """There is a run to show and export."""
    preset_keys: frozenset[str] = frozenset()
    problem: str = ""
    """Why no run can begin."""


def obstacle(now: Situation, action: str, argument: str = "") -> str:
    """Why ``action`` is not possible now, in one sentence that says what is; empty when it is possible."""
    needs_engine = action in SERVER_ACTIONS
    if needs_engine and (now.is_replay or not now.is_open):
        return REPLAY if now.is_replay else "Still looking for running servers; one moment."
    match action:
        case "run_preset":
            return _run_obstacle(now, argument)
        case "toggle_servers" | "restart_servers":
            return _server_obstacle(now, action)
        case "cancel_run" if not (now.is_running or now.is_moving):
            return "Nothing to cancel: no run is on and no server is being started."
        case "export" | "step_table" if not now.has_run:
            return "No run to show or export yet; a number key runs a preset."
    return ""


def _server_obstacle(now: Situation, action: str) -> str:
    if now.is_running:
        return "A run is on and needs both servers; c cancels it."
    if action == "restart_servers" and now.is_moving:
        return "A server is still on its way; s calls that off."
    return now.problem


def _run_obstacle(now: Situation, key: str) -> str:
    if now.is_running:
        return "A run is on already; c cancels it."
    if key not in now.preset_keys:
        return f"No preset has the key {key}; the Bench pane lists them."
    if now.is_moving:
        return "A server is still on its way; wait for it, or s calls that off."
    return now.problem
