"""Steers a run from a face: pause, resume, skip a cell, more or fewer clients."""

from __future__ import annotations

import asyncio

from serving_ctl.load.pool import Control


class Steering:
    """What the user asks of the run under way; nothing happens where there is no cell to ask it of."""

    def __init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()
        self._control: Control | None = None
        self._in_cell = False
        self._skipped = False
        self.clients_change = 0
        """Clients added to the cell under way, or taken away when negative."""

    @property
    def is_paused(self) -> bool:
        """True between ``pause`` and ``resume``."""
        return not self._going.is_set()

    @property
    def is_skipped(self) -> bool:
        """True when the user ended the cell under way."""
        return self._skipped

    def pause(self) -> None:
        """Send nothing until ``resume``; the clocks of the cell stand still."""
        self._going.clear()
        if self._control:
            self._control.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._going.set()
        if self._control:
            self._control.resume()

    def skip_cell(self) -> None:
        """End the cell under way with what it has measured so far, warm-up and extensions too."""
        self._skipped = self._in_cell
        if self._control:
            self._control.skip()

    def change_clients(self, change: int) -> None:
        """Add clients to the cell under way, or take some away (at least one stays)."""
        if self._in_cell:
            self.clients_change += change
        if self._control:
            self._control.change_clients(change)

    async def next_cell(self) -> None:
        """Forget what was asked of the last cell; returns when the run is not paused."""
        self._control, self._in_cell, self._skipped, self.clients_change = None, False, False, 0
        await self._going.wait()
        self._in_cell = True

    def next_load(self) -> Control:
        """The control of the cell's next load run, told what still holds."""
        control = Control()
        if self._skipped:
            control.skip()
        if self.is_paused:
            control.pause()
        if self.clients_change:
            control.change_clients(self.clients_change)
        self._control = control
        return control
