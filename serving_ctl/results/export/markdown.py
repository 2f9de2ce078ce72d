"""A run as Markdown: the original README's tables with interval and verdict, and the fairness card."""

from __future__ import annotations

import re

from serving_ctl import formatting
from serving_ctl.events import RunFailed
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import Table, fairness_table, ladder_tables

_MARKUP = re.compile(r"[\\`*~|<]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|\](?=[(\[])|!(?=\[)")
"""Characters that Markdown would read: an underscore within a word is none of them."""
ORIGINAL_HEADINGS = {"#": "序号 #"}
"""The 2019 README counted its rows under this heading; readers of it find their column again."""


def markdown_document(record: RunRecord) -> str:
    """The whole run, ready for GitHub."""
    tables = (*ladder_tables(record), fairness_table(record))
    return "\n".join([*_head(record), *(line for table in tables for line in markdown_table(table))])


def markdown_table(table: Table) -> list[str]:
    """The lines of one table with its title and notes."""
    headings = [ORIGINAL_HEADINGS.get(column.label, column.heading) for column in table.columns]
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    return [
        f"## {_escape(table.title)}",
        "",
        *(_line(cells) for cells in (headings, rules, *(list(row.cells) for row in table.rows))),
        "",
        *(f"{_escape(note)}\n" for note in table.notes),
    ]


def _head(record: RunRecord) -> list[str]:
    run = record.started
    targets = " against ".join(f"{target.label} ({target.version})" for target in record.targets)
    lines = [
        f"# {_escape(run.title)}",
        "",
        f"{_escape(targets)}; model {_escape(run.model)}, signature {_escape(run.signature)}; "
        f"preset {_escape(run.preset)}, profile {run.profile}, {formatting.plural(run.rounds, 'round')}; "
        f"{run.started_at}; tfserve-tui {run.tool_version}; run {run.run_id}.",
        "",
    ]
    if record.end is None:
        lines += ["**This run has no end: it was cut off. The finished cells follow.**", ""]
    elif isinstance(record.end, RunFailed):
        reason = _escape(record.end.reason.rstrip("."))
        lines += [f"**This run ended early: {reason}. The finished cells follow.**", ""]
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Text that cannot break a table or be taken for markup."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
