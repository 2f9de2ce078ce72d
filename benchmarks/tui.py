"""What the terminal UI costs, measured in a real pseudo-terminal at 120 × 40.

* first paint: from the start of the process to the first frame that shows both cards, the tabs and the footer, against
  a bare Textual app with Header, DataTable and Footer, in turns (aim ≤ 1.4); `--help` for comparison;
* CPU of the UI process while it plays a run with ten ticks a second (aim ≤ 10 % of a core), and idle;
* key press to visible change while it plays a run (aim: p99 ≤ 100 ms);
* 100,000 log lines in 10 s: key press to visible change meanwhile, and how much the memory grows.

`python benchmarks/tui.py [RECORDING]`; without a recording it takes the one in tests/data.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import psutil

COLUMNS, ROWS = 120, 40
ROUNDS = 9
LIMIT_S = 30.0
RUN_S = 15.0
KEY_PRESSES = 100
FLOOD_LINES, FLOOD_S = 100_000, 10.0
BARE = """
from textual.app import App
from textual.widgets import DataTable, Footer, Header
class Bare(App):
    BINDINGS = [("q", "quit", "quit")]
    def compose(self):
        yield Header()
        yield DataTable()
        yield Footer()
    def on_mount(self):
        self.query_one(DataTable).add_columns("first", "second")
Bare().run()
"""
BARE_SIGNS = ("first", "quit", "palette")
SIGNS = ("tf-serving", "flask", "Bench", "Logs", "quit", "palette")
TFSERVE = [sys.executable, "-m", "tui"]


class Terminal:
    """A child process on a pseudo-terminal of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def read(self, seconds: float) -> None:
        """Take what the child writes, so that it is never held up."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            if select.select([self._master], [], [], min(left, 0.05))[0]:
                self.seen += os.read(self._master, 65536).decode(errors="replace")

    def until(self, signs: Sequence[str]) -> float:
        """Seconds from the start until all ``signs`` were written."""
        while not all(sign in self.seen for sign in signs):
            if time.perf_counter() - self.started > LIMIT_S:
                raise SystemExit(f"no frame within {LIMIT_S:.0f} s: {self.seen[-500:]!r}")
            if select.select([self._master], [], [], 0.05)[0]:
                self.seen += os.read(self._master, 65536).decode(errors="replace")
        return time.perf_counter() - self.started

    def press(self, key: bytes) -> None:
        """Type."""
        os.write(self._master, key)

    def close(self) -> None:
        """End the child and the terminal."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


def first_paint(command: Sequence[str], signs: Sequence[str]) -> float:
    terminal = Terminal(command)
    try:
        return terminal.until(signs)
    finally:
        terminal.close()


def help_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([*TFSERVE, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def cpu_percent(command: Sequence[str], settle_s: float) -> float:
    """CPU of the child over RUN_S seconds, 100 = one core, after ``settle_s``."""
    terminal = Terminal(command)
    try:
        terminal.read(settle_s)
        process = psutil.Process(terminal.process.pid)
        before, begun = process.cpu_times(), time.perf_counter()
        terminal.read(RUN_S)
        after, took = process.cpu_times(), time.perf_counter() - begun
        return 100 * (after.user + after.system - before.user - before.system) / took
    finally:
        terminal.close()


def key_ms(terminal: Terminal, key: bytes, sign: str) -> float:
    """Milliseconds from ``key`` to ``sign`` on the screen."""
    terminal.seen = ""
    terminal.started = time.perf_counter()
    terminal.press(key)
    return 1000 * terminal.until([sign])


def keys_during_a_run(replay: Sequence[str]) -> list[float]:
    """The table is changed again and again while the charts move."""
    terminal = Terminal(replay)
    try:
        terminal.until(["measuring", "table 1 of"])
        taken = []
        total = int(terminal.seen.rpartition("table ")[2].split()[2])
        for number in range(KEY_PRESSES):
            taken.append(key_ms(terminal, b"]", f"table {(number + 1) % total + 1} of"))
            terminal.read(0.05 + 0.013 * (number % 7))
        return taken
    finally:
        terminal.close()


def flood() -> None:
    """The UI over an engine whose flask writes FLOOD_LINES lines in FLOOD_S seconds; runs in the child."""
    sys.path[0] = str(Path(__file__).parents[1])  # this file is called like the package
    from serving_ctl.config import Settings
    from serving_ctl.engine import Engine
    from serving_ctl.events import Event, LogLine
    from tui.app import TfServeApp

    class Flood(Engine):
        async def log_tail(self, server: str, lines: int = 200) -> Sequence[str]:
            return [f"{server} is silent"]

        async def follow_log(self, server: str) -> AsyncIterator[LogLine]:
            begun, written = time.perf_counter(), 0
            while server == "flask" and written < FLOOD_LINES:
                await asyncio.sleep(0.02)
                due = min(FLOOD_LINES, int((time.perf_counter() - begun) / FLOOD_S * FLOOD_LINES))
                for number in range(written, due):
                    yield LogLine(server=server, text=f"[{number}] [INFO] line {number} {'of a flood ' * 5}")
                written = due
            await asyncio.Event().wait()

    def make(settings: Settings, emit: Callable[[Event], None]) -> Engine:
        return Flood(settings, emit)

    TfServeApp(Settings(), make_engine=make).run()


def flood_figures() -> tuple[list[float], float, float]:
    """(key presses in ms during the flood, megabytes grown, CPU in percent of a core)."""
    terminal = Terminal([sys.executable, __file__, "--flood"])
    try:
        terminal.until(["batch-small"])
        process = psutil.Process(terminal.process.pid)
        memory, before, begun = process.memory_info().rss, process.cpu_times(), time.perf_counter()
        terminal.press(b"l")
        taken = []
        while time.perf_counter() - begun < FLOOD_S:
            taken.append(key_ms(terminal, b"b", "batch-small"))
            terminal.read(0.1)
            taken.append(key_ms(terminal, b"l", "following"))
            terminal.read(0.1)
        after, took = process.cpu_times(), time.perf_counter() - begun
        cpu = 100 * (after.user + after.system - before.user - before.system) / took
        terminal.seen = ""
        terminal.read(2.0)
        return taken, (process.memory_info().rss - memory) / 1e6, cpu
    finally:
        terminal.close()


def quantiles_text(values: Sequence[float]) -> str:
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"p50 {middle:.0f} ms, p99 {high:.0f} ms, max {ordered[-1]:.0f} ms of {len(ordered)}"


def main() -> None:
    if "--flood" in sys.argv:
        flood()
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFSERVE_STATE_DIR"] = os.environ["TFSERVE_DATA_DIR"] = folder
        recording = Path(sys.argv[1]) if len(sys.argv) > 1 else _shipped_recording()
        bare, ours = [], []
        for _ in range(ROUNDS):
            bare.append(first_paint([sys.executable, "-c", BARE], BARE_SIGNS))
            ours.append(first_paint(TFSERVE, SIGNS))
        helps = [help_seconds() for _ in range(ROUNDS)]
        ratio = statistics.median(mine / other for mine, other in zip(ours, bare, strict=True))
        print(f"first paint: {statistics.median(ours):.3f} s, bare app {statistics.median(bare):.3f} s, {ratio:.2f} ×")
        print(f"--help: {statistics.median(helps):.3f} s")
        print(f"CPU idle: {cpu_percent(TFSERVE, settle_s=5.0):.1f} % of a core")
        replay = [*TFSERVE, "--replay", str(recording)]
        print(f"CPU during a run, {COLUMNS} × {ROWS}: {cpu_percent(replay, settle_s=2.0):.1f} % of a core")
        print(f"key to change during a run: {quantiles_text(keys_during_a_run(replay))}")
        taken, grown, cpu = flood_figures()
        print(
            f"{FLOOD_LINES:,} log lines in {FLOOD_S:.0f} s: {quantiles_text(taken)}; +{grown:.0f} MB, CPU {cpu:.0f} %"
        )


def _shipped_recording() -> Path:
    found = sorted(Path("tests/data").glob("*.jsonl"))
    if not found:
        raise SystemExit("no recording in tests/data; make one with `tfserve-tui run batch-small --events FILE.jsonl`")
    return found[0]


if __name__ == "__main__":
    main()
