"""The Bench pane: the presets before the first run, the run from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.message import Message
from textual.reactive import var

from serving_ctl.bench.progress import Progress
from tui.conductor import Conductor
from tui.panes.pane import Pane
from tui.possible import Situation
from tui.widgets.note import Note
from tui.widgets.preset_list import PresetList

if TYPE_CHECKING:
    from serving_ctl.engine import PresetSummary
    from tui.panes.run_view import RunView


class BenchPane(Pane):
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

    activity: var[str] = var("", init=False)
    """The preset that is being prepared."""
    step: var[str] = var("", init=False)
    """What is being done for it, where that is known."""
    cancelling: var[bool] = var(False, init=False)
    """True while a cancelled run winds up."""
    paused: var[bool] = var(False, init=False)
    """True while the run sends nothing because the user said so."""
    presets: var[tuple[PresetSummary, ...]] = var((), init=False)
    """What the number keys run."""
    situation: var[Situation] = var(Situation(), init=False)
    """What is possible, and why no run is."""
    offer: var[str] = var("", init=False)
    """What Enter would do, in one sentence."""
    note: var[str] = var("", init=False)
    """What is going on before there are presets."""
    trouble: var[str] = var("", init=False)
    """Why the newest run or start came to nothing."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._view: RunView | None = None

    def compose(self) -> ComposeResult:
        """What went wrong, the presets."""
        pane = BenchPane
        yield Note(id="trouble", role="worse")
        yield PresetList().data_bind(pane.presets, pane.situation, pane.note, pane.offer)

    def on_mount(self) -> None:
        """The run's view need not hold up the first paint."""
        self.call_after_refresh(self._complete)

    async def _complete(self) -> None:
        from tui.panes.run_view import RunView

        pane = BenchPane
        self._view = RunView().data_bind(pane.progress, pane.activity, pane.step, pane.cancelling, pane.paused)
        await self.mount(self._view, before="PresetList")
        self.post_message(self.Completed())

    def watch_progress(self, progress: Progress) -> None:
        """From its start on a run takes the pane."""
        if progress.run is not None and not self.has_class("-has-run"):
            self.add_class("-has-run")
            if self.screen.focused is None:
                self.call_after_refresh(self.opened)

    def watch_trouble(self, trouble: str) -> None:
        """Say what went wrong, over presets or run."""
        self.query_one("#trouble", Note).say(*([f"✗ {trouble}"] if trouble else []))

    def opened(self) -> None:
        """The table takes the keyboard, if there is one."""
        if self.has_class("-has-run"):
            self.query_one("#ratio-table").focus()
        else:
            self.screen.set_focus(None)

    def step_table(self, by: int) -> None:
        """Another table of the run."""
        if self._view:
            self._view.step_table(by)

    def next_view(self) -> None:
        """The time chart, or the distribution of the selected row."""
        if self._view:
            self._view.next_view()

    def text_to_copy(self) -> str:
        """The table in sight, with tabs between its cells."""
        return self._view.text_to_copy() if self._view else ""
