"""What all panes have in common: the engine's conductor, the newest progress, and the keys that mean the pane."""

from __future__ import annotations

from textual.containers import Container
from textual.reactive import var
from textual.widget import Widget

from serving_ctl.bench.progress import Progress
from tui.conductor import Conductor


class Pane(Container):
    """One of the tabs at the right."""

    DEFAULT_CSS = "Pane { width: 1fr; height: 1fr; }"

    progress: var[Progress] = var(Progress(), init=False)
    """Bound to the main screen's."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self.conductor = conductor

    @property
    def in_sight(self) -> bool:
        """True for the pane that is shown."""
        return isinstance(self.parent, Widget) and self.parent.display

    def opened(self) -> None:
        """The pane came into sight: take the keyboard, and ask for what it shows."""
        raise NotImplementedError

    def update_now(self) -> None:
        """Ask again."""
        self.opened()

    def next_view(self) -> None:
        """Show the same in another way; a pane with one view has no other."""
        self.notify("This pane has one view only.", severity="warning", markup=False)

    def text_to_copy(self) -> str:
        """What the key for copying copies; empty when there is nothing."""
        return ""
