"""The one table of states a server can be in and the moves between them.

A move that is not in the table is a fault of ours, never of the user: it raises.
"""

from __future__ import annotations

from serving_ctl.events import ServerState

STOPPED, STARTING, READY = ServerState.STOPPED, ServerState.STARTING, ServerState.READY
DEGRADED, STOPPING, FAILED = ServerState.DEGRADED, ServerState.STOPPING, ServerState.FAILED

# From a standing state, READY and DEGRADED also mean: found running, started by an earlier or another tfserve-tui.
# From READY and DEGRADED, STOPPED means: somebody else stopped it.
MOVES: dict[ServerState, frozenset[ServerState]] = {
    STOPPED: frozenset({STARTING, READY, DEGRADED, STOPPING}),
    STARTING: frozenset({READY, FAILED, STOPPED, STOPPING}),
    READY: frozenset({DEGRADED, STOPPING, FAILED, STOPPED}),
    DEGRADED: frozenset({READY, STARTING, STOPPING, FAILED, STOPPED}),
    STOPPING: frozenset({STOPPED, FAILED, STARTING}),
    FAILED: frozenset({STARTING, READY, DEGRADED, STOPPED, STOPPING}),
}

ALIVE = frozenset({READY, DEGRADED})
"""States in which the server can be asked and sampled."""

AT_REST = frozenset({STOPPED, FAILED})
"""States in which nothing of it runs."""


class TransitionFault(AssertionError):
    """A server was moved in a way the table does not allow."""


def check_move(server: str, before: ServerState, after: ServerState) -> None:
    """Accept a move, or staying with news; raises TransitionFault for any other."""
    if before != after and after not in MOVES[before]:
        raise TransitionFault(f"{server}: {before} → {after} is not a move of serving_ctl/servers/state.py")
