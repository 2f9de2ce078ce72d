"""Where the run stands: preset, profile, round, cell, time left, and the bar; or how it ended and what comes next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from textual.geometry import Size
from textual.reactive import var

from serving_ctl import formatting
from serving_ctl.bench.progress import Progress
from serving_ctl.events import CellStarted, RunFailed, ServerChanged, ServerState
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import SIZE_LABELS
from tui import keys
from tui.drawing import Line, Span, cut_line, flow, line, server_glyph, server_role, wrap
from tui.widgets.drawn import Drawn

PHASE_WORDS = {"warmup": "warming up", "burst": "all at once", "window": "measuring", "drain": "last answers"}
KEPT = " kept; {open_export} exports them, a number key runs a preset."


def run_lines(progress: Progress, width: int, *, cancelling: bool = False, paused: bool = False) -> list[Line]:
    """Two or more lines about the run of ``progress``; none when there is no run."""
    run = progress.run
    if run is None:
        return []
    if run.end is not None:
        return _end_lines(run, width)
    pieces = [*_head(run), *_cell_pieces(progress, paused=paused)]
    if cancelling:
        pieces.append(line(Span("cancelling …", "warn")))
    return [*flow(pieces, width), progress_bar(progress, width)]


def preparing_lines(preset: str, width: int, *, step: str = "", cancelling: bool = False) -> list[Line]:
    """What happens between the key and the first cell; ``step`` is what is being done now, where that is known."""
    first = line(Span(preset, "strong"), Span(" preparing", "warn"))
    doing = step or "servers, equal predictions, request bodies"
    what = "cancelling …" if cancelling else doing + keys.say("; {cancel_run} cancels")
    lines = flow([first, line(Span(what, "quiet"))], width)
    trained = re.search(r"epoch (\d+)/(\d+) (\d+) %", step)
    if trained is None:
        return lines
    epoch, epochs, percent = map(int, trained.groups())
    share = (epoch - 1 + percent / 100) / epochs
    return [*lines, bar_line(share, f"  {formatting.percent(100 * share)}", width)]


def starting_words(servers: Iterable[ServerChanged]) -> str:
    """Which servers are being started, and what each waits for."""
    return "; ".join(f"{one.server} starts: {one.detail}" for one in servers if one.state is ServerState.STARTING)


def progress_bar(progress: Progress, width: int) -> Line:
    """The bar with the number of cells and the time left behind it."""
    started = progress.started
    total = started.total if started else 0
    done = len(progress.run.cells) if progress.run else 0
    text = f"  {done}/{total} cells" if total else "  preparing"
    if started:
        text += f" · {formatting.duration(_left_s(progress, started))} left"
    return bar_line(progress.fraction, text, width)


def bar_line(share: float, text: str, width: int) -> Line:
    """A bar filled to ``share``, 0 … 1, with ``text`` behind it."""
    room = max(8, width - len(text))
    filled = share * room
    full = int(filled)
    half = "╸" if filled - full >= 0.5 and full < room else ""
    rest = "─" * (room - full - len(half))
    return cut_line(line(Span("━" * full + half, "bar"), Span(rest, "faint"), Span(text, "quiet")), width)


def _left_s(progress: Progress, started: CellStarted) -> float:
    elapsed_s = progress.tick.elapsed_s if progress.tick else 0.0
    return max(0.0, started.left_s - elapsed_s)


def _head(run: RunRecord) -> list[Line]:
    return [line(Span(run.started.preset, "strong"), Span(f"  {run.started.profile}", "quiet"))]


def _cell_pieces(progress: Progress, *, paused: bool) -> list[Line]:
    run = progress.run
    if run is None or run.current is None:
        return []
    cell = run.current
    target = next(target for target in run.started.targets if target.server == cell.server)
    noun = SIZE_LABELS[run.ladder(cell.ladder).kind]
    phase = PHASE_WORDS.get(progress.tick.phase, progress.tick.phase) if progress.tick else "beginning"
    doing = Span(" ‖ paused", "strong warn") if paused else Span(f" {phase}", "quiet")
    return [
        line(f"round {cell.round}/{run.started.rounds}"),
        line(f"{noun} {formatting.count(cell.size)}"),
        line(Span(f"{server_glyph(cell.server)} {target.name}", server_role(cell.server)), doing),
    ]


def _end_lines(run: RunRecord, width: int) -> list[Line]:
    end = run.end
    if end is None:
        return []
    took = formatting.duration(end.duration_s)
    cells = formatting.plural(len(run.cells), "cell")
    if not isinstance(end, RunFailed):
        verdict = line(Span("✓ done", "strong better"), Span(f" in {took}, {cells}", "quiet"))
        pieces = [*_head(run), verdict, line(Span(keys.say("{open_export}"), "key"), " exports it")]
        began = line(Span(run.started.started_at[:16].replace("T", " "), "quiet"))
        return flow([*pieces, began] if len(flow([*pieces, began], width)) == 1 else pieces, width)
    word = "cancelled" if end.cancelled else "stopped early"
    verdict = line(Span(f"! {word}", "strong warn"), Span(f" after {took}", "quiet"))
    nothing = "Nothing was measured; a number key runs a preset."
    kept = cells + keys.say(KEPT) if run.cells else nothing
    reason = "" if end.cancelled else f"{end.reason.rstrip('.')}. "
    sentences = [line(Span(text)) for text in wrap(reason + kept, width)]
    return [*flow([*_head(run), verdict], width), *sentences]


class RunLine(Drawn):
    """The run's state in words and as a bar."""

    DEFAULT_CSS = """
    RunLine { height: auto; }
    """

    activity: var[str] = var("", init=False)
    """The preset that is being prepared; empty otherwise."""
    step: var[str] = var("", init=False)
    """What is being done for it, where that is known."""
    cancelling: var[bool] = var(False, init=False)
    """True from the key until the run has ended."""
    paused: var[bool] = var(False, init=False)
    """True while the run sends nothing because the user said so."""

    def draw(self, size: Size) -> Sequence[Line]:
        """The run's lines."""
        progress = self.progress
        if self.activity and not progress.is_running:
            step = self.step and f"the model: {self.step}"
            starts = starting_words(progress.servers.values())
            return preparing_lines(self.activity, size.width, step=step or starts, cancelling=self.cancelling)
        is_on = progress.is_running
        return run_lines(progress, size.width, cancelling=self.cancelling and is_on, paused=self.paused and is_on)

    def watch_activity(self) -> None:
        """Say at once that the key was heard."""
        self.redraw()

    def watch_step(self) -> None:
        """Show what is being done."""
        self.redraw()

    def watch_paused(self) -> None:
        """Say at once that the key was heard."""
        self.redraw()

    def watch_cancelling(self) -> None:
        """Say at once that the key was heard."""
        self.redraw()
