"""Steers a run from a face: pause, resume, skip a cell, more or fewer clients."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from serving_ctl.load.pool import Control


class Steering:
    """What the user asks of the run under way; nothing happens where there is no cell to ask it of."""

    def __init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()
        self._control: Control | None = None
        self._in_cell = False
        self._skipped = False
        self._planned = 1
        self.was_changed = False
        """True when the cell under way had another number of clients for a while."""
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

    @property
    def clients(self) -> int:
        """Clients of the cell under way, as planned and changed."""
        return self._planned + self.clients_change

    def change_clients(self, change: int) -> None:
        """Add clients to the cell under way, or take some away; at least one stays."""
        change = max(change, 1 - self.clients)
        if not self._in_cell or not change:
            return
        self.clients_change += change
        self.was_changed = True
        if self._control:
            self._control.change_clients(change)

    def redirect(self, urls: Sequence[str]) -> None:
        """The addresses of the load under way have changed."""
        if self._control:
            self._control.redirect(urls)

    async def next_cell(self, clients: int) -> None:
        """Forget what was asked of the last cell; returns when the run is not paused. The next has ``clients``."""
        self._control, self._in_cell, self._skipped = None, False, False
        self._planned, self.clients_change, self.was_changed = clients, 0, False
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
        self._control, self._in_cell = control, True
        return control
