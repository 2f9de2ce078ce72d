"""The side of the main screen that is always in sight: a card for every server, and the fairness card."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size
from textual.reactive import var

from serving_ctl.bench.progress import Progress
from tui.widgets.fairness_card import FairnessCard
from tui.widgets.server_card import ServerCard

CARD_ROWS, COMPACT_ROWS, OTHER_ROWS = 8, 5, 7
"""Rows of a card with its border, of a compact one, and those left for title, keys and the fairness card."""
SIDE_BY_SIDE_MOST = 4
"""Cards that may stand two by two on top of the panes; more are one line each."""


class Side(Vertical):
    """The cards, each as large as all can be. A server that only a recording has gets its card when it is heard of."""

    progress: var[Progress] = var(Progress(), init=False)
    """Bound to the main screen's."""

    def __init__(self, servers: Sequence[str], *, clock: Callable[[], float] = time.time, live: bool = True) -> None:
        super().__init__(id="side")
        self._servers, self._clock, self._live = servers, clock, live

    def compose(self) -> ComposeResult:
        """Servers in their order, fairness last."""
        yield from map(self._card, self._servers)
        yield FairnessCard().data_bind(Side.progress)

    async def watch_progress(self, progress: Progress) -> None:
        """A card for every server."""
        known = {card.server for card in self.query(ServerCard)}
        if new := [server for server in progress.servers if server not in known]:
            await self.mount_all([self._card(server) for server in new], before="#fairness")
            self.fit(self.screen.size)

    def fit(self, screen: Size, *, is_narrow: bool | None = None, is_short: bool | None = None) -> None:
        """Say less where there is less room: below 100 columns the cards lie on top of the panes."""
        narrow = self.screen.has_class("-narrow") if is_narrow is None else is_narrow
        short = self.screen.has_class("-short") if is_short is None else is_short
        cards, rows = self.query(ServerCard), screen.height - OTHER_ROWS
        compact = narrow or len(cards) * CARD_ROWS > rows
        single = (short or len(cards) > SIDE_BY_SIDE_MOST) if narrow else len(cards) * COMPACT_ROWS > rows
        self.set_class(single, "-lines")
        for card in cards:
            card.set_class(compact, "-compact")
            card.set_class(single, "-line")
        self.query_one(FairnessCard).set_class(narrow, "-compact")

    def _card(self, server: str) -> ServerCard:
        return ServerCard(server, clock=self._clock, live=self._live).data_bind(Side.progress)
