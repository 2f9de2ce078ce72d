"""The Bench pane: the presets before the first run, the run from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import var

from serving_ctl.bench.progress import Progress
from tui.widgets.preset_list import PresetList

if TYPE_CHECKING:
    from serving_ctl.engine import PresetSummary


class BenchPane(Vertical):
    """Presets, then the run. The run's widgets are mounted after the first paint."""

    DEFAULT_CSS = """
    BenchPane {
        RunView { height: auto; }
        &.-has-run RunView { height: 1fr; }
        &.-has-run PresetList { display: none; }
    }
    """

    class Completed(Message):
        """All widgets are there: progress can be shown from now on."""

    progress: var[Progress] = var(Progress(), init=False)
    """Bound to the main screen's, and handed on to the widgets."""
    activity: var[str] = var("", init=False)
    """The preset that is being prepared."""
    cancelling: var[bool] = var(False, init=False)
    """True while a cancelled run winds up."""
    presets: var[tuple[PresetSummary, ...]] = var((), init=False)
    """What the number keys run."""
    problem: var[str] = var("", init=False)
    """Why no run can begin."""
    note: var[str] = var("", init=False)
    """What is going on before there are presets."""

    def __init__(self) -> None:
        super().__init__(id="bench")

    def compose(self) -> ComposeResult:
        """The presets."""
        yield PresetList().data_bind(BenchPane.presets, BenchPane.problem, BenchPane.note)

    def on_mount(self) -> None:
        """The run's view need not hold up the first paint."""
        self.call_after_refresh(self._complete)

    async def _complete(self) -> None:
        from tui.panes.run_view import RunView

        view = RunView().data_bind(BenchPane.progress, BenchPane.activity, BenchPane.cancelling)
        await self.mount(view, before=0)
        self.post_message(self.Completed())

    def watch_progress(self, progress: Progress) -> None:
        """From its start on a run takes the pane."""
        self.set_class(progress.run is not None, "-has-run")
