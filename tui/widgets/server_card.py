"""The card of one server: state, runtime, address, the sentence that explains its state, CPU and memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import msgspec
from textual.geometry import Size
from textual.timer import Timer

from serving_ctl import formatting
from serving_ctl.bench.progress import Progress
from serving_ctl.events import ServerChanged, ServerSampled, ServerState
from tui import keys
from tui.drawing import Line, Span, apart, cut, cut_line, left, line, line_width, server_glyph, server_role, wrap
from tui.widgets.drawn import Drawn

STATE_LOOKS = {
    ServerState.STOPPED: ("○", "quiet"),
    ServerState.STARTING: ("◔", "warn"),
    ServerState.READY: ("✓", "better"),
    ServerState.DEGRADED: ("!", "warn"),
    ServerState.STOPPING: ("◕", "warn"),
    ServerState.FAILED: ("✗", "worse"),
}
MOVING = {ServerState.STARTING, ServerState.STOPPING}
UP = {ServerState.READY, ServerState.DEGRADED}
BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_COLUMNS = 10
DETAIL_LINES = 4
NAME_COLUMNS, LINE_ROWS = 10, 3
UNSEEN = "CPU, memory and queue cannot be seen from here: somebody else runs it."


class CardView(msgspec.Struct, frozen=True, kw_only=True):
    """What a card shows."""

    server: str
    changed: ServerChanged | None = None
    samples: tuple[ServerSampled, ...] = ()
    for_s: float | None = None
    """Seconds in this state, where that is worth showing."""
    hint: str = ""
    """What to do about a server that does not run."""


def card_lines(view: CardView, width: int, *, compact: bool = False) -> list[Line]:
    """The inside of a card; ``compact`` gives three lines, else six or as many as the detail sentence needs."""
    changed = view.changed or ServerChanged(server=view.server, state=ServerState.STOPPED)
    lines = [_state_line(changed, view.for_s, width), cut_line(_address(changed), width)]
    if changed.label:
        lines.insert(1, cut_line((Span(changed.label, "quiet"),), width))
    sentence = changed.detail or (view.hint if changed.state is ServerState.STOPPED else "")
    if sentence and changed.state not in UP:
        role = STATE_LOOKS[changed.state][1] if changed.state is not ServerState.STOPPED else "quiet"
        room = 1 if compact else DETAIL_LINES
        lines = [spans for spans in lines if spans][: 2 if compact else 3]
        lines += [(Span(text, role),) for text in _shortened(sentence, width, room)]
    elif not compact:
        lines += _samples(view, changed, width)
    return lines[:3] if compact else lines


def card_line(view: CardView, width: int) -> list[Line]:
    """The whole card in one line, for small screens; what is wrong with a server goes on below it."""
    changed = view.changed or ServerChanged(server=view.server, state=ServerState.STOPPED)
    mark, role = STATE_LOOKS[changed.state]
    head = line(
        Span(f"{server_glyph(view.server)} {left(view.server, NAME_COLUMNS)}", f"strong {server_role(view.server)}"),
        Span(f" {mark} {changed.state.value.upper()}  ", f"strong {role}"),
    )
    if changed.state in UP:
        newest = view.samples[-1] if view.samples else None
        load = f"  {formatting.percent(newest.cpu_percent)}" if newest else ""
        return [cut_line((*head, Span(f"{changed.label}  "), *_address(changed)[:1], Span(load, "quiet")), width)]
    sentence = changed.detail or (view.hint if changed.state is ServerState.STOPPED else "")
    age = f"{formatting.duration(view.for_s)} " if view.for_s is not None else ""
    indent = line_width(head)
    rest = _shortened(age + sentence, max(10, width - indent), LINE_ROWS) or [""]
    below = [line(Span(" " * indent), Span(text, "quiet")) for text in rest[1:]]
    return [cut_line(spans, width) for spans in ((*head, Span(rest[0], "quiet")), *below)]


def sparkline(values: Sequence[float], top: float, columns: int) -> str:
    """The last ``columns`` values as blocks on a scale from 0 to ``top``."""
    shown = values[-columns:]
    steps = (min(len(BLOCKS) - 1, int(value / top * len(BLOCKS))) if top > 0 else 0 for value in shown)
    return "".join(BLOCKS[step] for step in steps).rjust(columns)


def _state_line(changed: ServerChanged, for_s: float | None, width: int) -> Line:
    mark, role = STATE_LOOKS[changed.state]
    start = line(Span(f"{mark} {changed.state.value.upper()}", f"strong {role}"))
    if for_s is None:
        return cut_line(start, width)
    word = "up " if changed.state in UP else ""
    return apart(start, line(Span(f"{word}{formatting.duration(for_s)}", "quiet")), width)


def _address(changed: ServerChanged) -> Line:
    if not changed.url:
        return ()
    number = changed.version.rpartition(" ")[2]  # "TensorFlow 2.21.0": the label already names the program
    version = f" · {number}" if number not in {"", "?"} else ""
    whose = "" if changed.ours else " · not ours"
    more = f" +{len(changed.addresses) - 1}" if changed.addresses else ""
    return line(changed.url.removeprefix("http://") + more, Span(version + whose, "quiet"))


def _samples(view: CardView, changed: ServerChanged, width: int) -> list[Line]:
    """CPU, memory and the accept queue over the last seconds; of a server out of reach, that they are not known."""
    if not view.samples:
        unseen = changed.state in UP and changed.runtime == "external"
        return [(Span(text, "quiet"),) for text in wrap(UNSEEN, width)] if unseen else []
    cpu = [sample.cpu_percent for sample in view.samples]
    memory = [sample.memory_mb for sample in view.samples]
    queue = [float(sample.waiting) for sample in view.samples if sample.waiting is not None]
    newest = view.samples[-1]
    waiting = formatting.MISSING if newest.waiting is None else formatting.count(newest.waiting)
    rows = (
        ("cpu   ", cpu, max(100.0, *cpu), formatting.percent(newest.cpu_percent)),
        ("mem   ", memory, max(memory), formatting.memory(newest.memory_mb)),
        ("queue ", queue, max(1.0, *queue, 1.0), f"{waiting}{_processes(changed, newest.processes)}"),
    )
    role = server_role(view.server)
    return [
        cut_line(line(Span(name, "quiet"), Span(sparkline(values, top, SPARK_COLUMNS), role), "  ", text), width)
        for name, values, top, text in rows
    ]


def _processes(changed: ServerChanged, number: int) -> str:
    """How many work on the requests: gunicorn's arbiter is none of its workers."""
    if changed.runtime == "gunicorn":
        return f" · {formatting.plural(number - 1, 'worker')}"
    return f" · {formatting.count(number)} proc." if number > 1 else ""


def _shortened(sentence: str, width: int, rows: int) -> list[str]:
    lines = wrap(sentence, width)
    return lines if len(lines) <= rows else [*lines[: rows - 1], cut(" ".join(lines[rows - 1 :]), width)]


class ServerCard(Drawn, can_focus=True):
    """One server's card. With the focus on it, the keys for servers mean this one alone."""

    DEFAULT_CSS = """
    ServerCard {
        border: round $border;
        border-title-style: bold;
        padding: 0 1;
        min-height: 8;
        &.-compact { min-height: 5; }
        &.-tf-serving { border-title-color: $server-tf-serving; }
        &.-flask { border-title-color: $server-flask; }
        &.-server-3 { border-title-color: $server-3; }
        &.-server-4 { border-title-color: $server-4; }
        &.-server-5 { border-title-color: $server-5; }
        &.-server-6 { border-title-color: $server-6; }
        &.-up.-tf-serving { border: round $server-tf-serving; }
        &.-up.-flask { border: round $server-flask; }
        &.-up.-server-3 { border: round $server-3; }
        &.-up.-server-4 { border: round $server-4; }
        &.-up.-server-5 { border: round $server-5; }
        &.-up.-server-6 { border: round $server-6; }
        &.-failed { border: round $worse; }
        &:focus { border: heavy $accent; }
    }
    """

    def __init__(self, server: str, *, clock: Callable[[], float] = time.time, live: bool = True) -> None:
        super().__init__(id="card-" + re.sub(r"[^\w-]", "_", server, flags=re.ASCII), classes=f"-{server_role(server)}")
        self.server = server
        self.border_title = f"{server_glyph(server)} {server}"
        self._clock = clock
        self._live = live
        self._since: float | None = None
        self._ticking: Timer | None = None

    def on_mount(self) -> None:
        """Count the seconds while there are some to count."""
        self._ticking = self.set_interval(1.0, self.redraw, pause=not self._live)

    def draw(self, size: Size) -> Sequence[Line]:
        """The card's lines."""
        view = self._view(self.progress)
        if self.has_class("-line"):
            return card_line(view, size.width)
        return card_lines(view, size.width, compact=self.has_class("-compact"))

    def validate_progress(self, progress: Progress) -> Progress:
        """Note when the state last changed."""
        new, old = progress.servers.get(self.server), self.progress.servers.get(self.server)
        if new and (old is None or old.state is not new.state):
            self._since = self._clock()
        return progress

    def watch_progress(self) -> None:
        """Show the state on the border too."""
        changed = self.progress.servers.get(self.server)
        self.set_class(changed is not None and changed.state in UP, "-up")
        self.set_class(changed is not None and changed.state is ServerState.FAILED, "-failed")
        super().watch_progress()

    def _view(self, progress: Progress) -> CardView:
        changed = progress.servers.get(self.server)
        hint = keys.say("Not running; {toggle_servers} starts the servers.") if self._live else ""
        return CardView(
            server=self.server,
            changed=changed,
            samples=progress.samples.get(self.server, ())[-SPARK_COLUMNS:],
            for_s=self._for_s(changed),
            hint=hint,
        )

    def _for_s(self, changed: ServerChanged | None) -> float | None:
        if changed is None or not self._live:
            return None
        since = changed.started_at if changed.state in UP and changed.started_at else self._since
        counts = changed.state in UP | MOVING
        return max(0.0, self._clock() - since) if counts and since is not None else None
