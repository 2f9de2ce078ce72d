"""Many clocks made one: how far a worker's clocks are ahead of ours, and how far apart starts came (pure functions).

As NTP does it: a clock is read several times, the reading with the shortest round trip counts, and half of that round
trip bounds its error. Starts are agreed in monotonic time, which no step of a wall clock moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a worker's clocks, in ns; ``asked`` and ``answered`` are our monotonic clock's."""

    asked: int
    answered: int
    wall_asked: int
    """Our wall clock's time at ``asked``."""
    monotonic: int
    wall: int

    @property
    def round_trip(self) -> int:
        """How long the reading took."""
        return self.answered - self.asked


class Offset(msgspec.Struct, frozen=True, kw_only=True):
    """By how many ns a worker's clocks are ahead of ours; both may be wrong by ``error``."""

    monotonic: int
    wall: int
    error: int

    def theirs(self, ours: int) -> int:
        """The worker's monotonic time when ours is ``ours``."""
        return ours + self.monotonic


def offset_of(readings: Sequence[Reading]) -> Offset:
    """The offset by the reading with the shortest round trip. Raises ValueError for no readings."""
    best = min(readings, key=lambda reading: reading.round_trip)
    half = best.round_trip // 2
    return Offset(
        monotonic=best.monotonic - (best.asked + half),
        wall=best.wall - (best.wall_asked + half),
        error=half + best.round_trip % 2,
    )


def skew_ns(agreed: Sequence[int], started: Sequence[int | None]) -> int | None:
    """Between the first and the last start, each against what was agreed on its own clock; None for less than two."""
    late = [there - asked for asked, there in zip(agreed, started, strict=True) if there is not None]
    return max(late) - min(late) if len(late) > 1 else None
