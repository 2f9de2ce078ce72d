"""A run as Markdown: the original README's tables with interval and verdict, and the fairness card."""

from __future__ import annotations

import re

from serving_ctl.results.document import all_tables, sentences
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import Table

_MARKUP = re.compile(r"[\\`*~|<]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|\](?=[(\[])|!(?=\[)")
"""Characters that Markdown would read: an underscore within a word is none of them."""
ORIGINAL_HEADINGS = {"#": "序号 #"}
"""The 2019 README counted its rows under this heading; readers of it find their column again."""


def markdown_document(record: RunRecord) -> str:
    """The whole run, ready for GitHub."""
    tables = (line for table in all_tables(record) for line in markdown_table(table))
    return "\n".join([*_head(record), *tables])


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
    title, about, *troubles = map(_escape, sentences(record))
    return [f"# {title}", "", about, "", *(line for trouble in troubles for line in (f"**{trouble}**", ""))]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Text that cannot break a table or be taken for markup."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
