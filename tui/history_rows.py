"""The kept runs as the History pane lists them: texts a run, and column widths that fit the screen. No widget here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from serving_ctl import formatting
from serving_ctl.results.overview import rates_text
from serving_ctl.results.record import RunSummary

COLUMNS = ("", "begun", "preset", "servers", "state", "rate", "baseline", "cells", "model")
FLEXIBLE = ("preset", "servers", "rate", "baseline")
"""Columns that say less where there is no room; the sentence below the list says the rest."""
LEAST = 8
SPARE = ("model", "cells")
"""Columns that are left out first, in this order."""
STATE_MARKS = {"finished": "✓", "cancelled": "!", "failed": "✗", "unreadable": "✗"}


def row_of(run: RunSummary, *, marked: bool) -> tuple[str, ...]:
    """One text a column; seconds and profile tell runs of one preset apart."""
    return (
        mark_text(marked=marked),
        run.started_at[5:19].replace("T", " "),
        f"{run.preset} {run.profile}",
        " / ".join(run.runtimes or map(brief, run.targets)),
        f"{STATE_MARKS.get(run.state, '?')} {run.state}",
        rates_text(run),
        ", ".join(run.baselines),
        f"{formatting.count(run.cells)}/{formatting.count(run.planned)}",
        run.model,
    )


def mark_text(*, marked: bool) -> str:
    """What stands before a run that another is to be compared with."""
    return "◆" if marked else " "


def brief(label: str) -> str:
    """A server's label without what it says in brackets."""
    return re.sub(r" \([^)]*\)", "", label)


def details_of(run: RunSummary) -> str:
    """All that is known of a run without opening it, in a sentence or two."""
    begun = run.started_at[:19].replace("T", " ")
    took = f", took {formatting.duration(run.duration_s)}" if run.duration_s is not None else ""
    called = f" Baseline {', '.join(run.baselines)}." if run.baselines else ""
    why = f" Ended early: {run.reason.rstrip('.')}." if run.reason else ""
    return (
        f"{run.run_id}: {run.preset}, {run.profile}, {formatting.plural(run.rounds, 'round')}, begun {begun}{took}; "
        f"{formatting.count(run.cells)} of {formatting.count(run.planned)} cells; {run.model}; "
        f"{' / '.join(run.targets)}.{called}{why}"
    )


def widths_of(rows: Sequence[Sequence[str]], room: int) -> dict[str, int]:
    """Width by column, all of ``rows`` and the headings in ``room`` columns of the screen."""
    texts = {name: [name, *(row[number] for row in rows)] for number, name in enumerate(COLUMNS)}
    widths = {name: max(cell_len(text) for text in column) for name, column in texts.items()}
    widths[""] = 1
    if not any(texts["baseline"][1:]):
        del widths["baseline"]
    for name in SPARE:
        if _total(widths) > room:
            del widths[name]
    while _total(widths) > room:
        widest = max((name for name in FLEXIBLE if name in widths), key=lambda name: widths[name])
        if widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    return widths


def _total(widths: dict[str, int]) -> int:
    return sum(width + 1 for width in widths.values())
