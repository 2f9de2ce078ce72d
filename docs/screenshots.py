"""Makes all pictures of the documentation as SVG, and renews the README's table of keys.

`python docs/screenshots.py [RECORDING]`: the README's pictures from a recording (without one, the first in tests/data),
those of the tour from real servers. `--keys` renews the table alone.
"""

from __future__ import annotations

import asyncio
import sys
from functools import reduce
from pathlib import Path

from tour_pictures import take_tour

from serving_ctl.bench.progress import Progress, advance
from serving_ctl.config import Settings
from serving_ctl.events import AnyEvent, CellStarted, read_recording
from tui import keys
from tui.app import TfServeApp
from tui.replay import Replay
from tui.screens.main import MainScreen

FOLDER = Path(__file__).parent
SHARE_OF_RUN = 0.45
"""How much of the run the picture of a running test shows."""
PICTURES = (
    ("bench-running", (120, 40), "tfserve-dark", True),
    ("bench-finished", (120, 40), "tfserve-dark", False),
    ("bench-light", (120, 40), "tfserve-light", False),
    ("bench-80x24", (80, 24), "tfserve-dark", False),
)


async def picture(events: list[AnyEvent], size: tuple[int, int], theme: str) -> str:
    """The screen after ``events`` as SVG."""
    replay = Replay(path=Path("run.jsonl"), events=tuple(events), speed=0)
    app = TfServeApp(Settings(), replay=replay, theme=theme)
    expected = reduce(advance, events, Progress())
    async with app.run_test(size=size) as pilot, asyncio.timeout(60):
        screen = app.screen
        while not (isinstance(screen, MainScreen) and screen.progress == expected):
            await pilot.pause(0.05)
        await pilot.pause()
        return app.export_screenshot(title="tfserve-tui")


def partly(events: list[AnyEvent]) -> list[AnyEvent]:
    """The recording up to the middle of a cell."""
    starts = [number for number, event in enumerate(events) if isinstance(event, CellStarted)]
    cell = int(len(starts) * SHARE_OF_RUN)
    return events[: (starts[cell] + starts[cell + 1]) // 2] if len(starts) > cell + 1 else events


def renew_keys(readme: Path) -> None:
    """Put the table of keys between its markers."""
    begin, end = "<!-- keys: made by tui/keys.py -->\n", "<!-- end of keys -->"
    before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    readme.write_text(before + begin + keys.markdown() + end + rest.partition(end)[2], encoding="utf-8")


def main() -> None:
    """Write all pictures and name them."""
    renew_keys(FOLDER.parent / "README.md")
    if "--keys" in sys.argv:
        return
    found = [Path(sys.argv[1])] if len(sys.argv) > 1 else sorted(Path("tests/data").glob("*.jsonl"))
    if not found:
        sys.exit("no recording in tests/data; make one with `tfserve-tui run batch-small --events FILE.jsonl`")
    events = read_recording(found[0])
    for name, size, theme, is_running in PICTURES:
        path = FOLDER / f"{name}.svg"
        svg = asyncio.run(picture(partly(events) if is_running else events, size, theme))
        path.write_text(svg, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    asyncio.run(take_tour(FOLDER))


if __name__ == "__main__":
    main()
