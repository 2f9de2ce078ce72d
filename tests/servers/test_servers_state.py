"""The table of states: every state can be left, and only moves in it are accepted."""

from __future__ import annotations

import itertools

import pytest

from serving_ctl.events import ServerState
from serving_ctl.servers.state import MOVES, TransitionFault, check_move


def test_every_state_can_come_to_rest() -> None:
    reachable = {state: {state} for state in ServerState}
    for _ in ServerState:
        for state in ServerState:
            reachable[state] |= set(itertools.chain.from_iterable(MOVES[one] for one in reachable[state]))
    assert set(MOVES) == set(ServerState)
    assert all(ServerState.STOPPED in states for states in reachable.values())


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ServerState, ServerState)))
def test_only_moves_of_the_table_are_accepted(before: ServerState, after: ServerState) -> None:
    if before == after or after in MOVES[before]:
        check_move("flask", before, after)
    else:
        with pytest.raises(TransitionFault, match=f"flask: {before} → {after}"):
            check_move("flask", before, after)
