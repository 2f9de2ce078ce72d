"""A run as one self-contained HTML file: no network, no script; light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from serving_ctl.results.document import all_tables, sentences
from serving_ctl.results.export.charts import PALETTE, chart_svg, charts_of
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import FIRST_RATE, GROUP, Column, Row, RowState, Table

DARK = {
    "ink": "#dfe5ea",
    "quiet": "#98a3ad",
    "grid": "#37424c",
    "first": "#6db5ff",
    "second": "#ffa24d",
    "third": "#e08be2",
    "fourth": "#a3d65c",
    "fifth": "#ff86ab",
    "sixth": "#c2c2c2",
    "connect": "#ffd05c",
    "network": "#98a3ad",
    "json": "#b79cff",
    "queue": "#5ecb72",
    "graph": "#5db5b5",
}
_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --band: #f3f6f8; --better: #14702a; --worse: #b81f2d; %(light)s }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161b; --band: #1a2027; --better: #5ecb72; --worse: #ff7a7a; %(dark)s }
}
body { margin: 2rem auto; max-width: 84rem; padding: 0 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem }
p { margin: .3rem 0; color: var(--quiet) } p.trouble { color: var(--worse); font-weight: 600 }
div.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .28rem .8rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top }
td.number { white-space: nowrap }
th { color: var(--quiet); font-weight: 600; border-bottom-width: 2px } td.number, th.number { text-align: right }
tbody tr:nth-child(even) { background: var(--band) }
td.better { color: var(--better); font-weight: 600 }
td.worse, td.failed { color: var(--worse); font-weight: 600 }
div.charts { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%%), 1fr)) }
figure { margin: 0 } figcaption { font-weight: 600; margin-bottom: .2rem } svg { width: 100%%; height: auto }
@media print { body { max-width: none } h2, figure { break-inside: avoid } }
"""


def html_document(record: RunRecord) -> str:
    """The whole run: sentences, ratio tables, charts, what explains them, the fairness card."""
    title, about, *troubles = sentences(record)
    tables = all_tables(record)
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_style()}</style></head><body>",
            f"<header><h1>{escape(title)}</h1><p>{escape(about)}</p>",
            *(f'<p class="trouble">{escape(trouble)}</p>' for trouble in troubles),
            "</header>",
            _section(tables[0]),
            *_figures(record),
            *map(_section, tables[1:]),
            "</body></html>\n",
        ]
    )


def _figures(record: RunRecord) -> list[str]:
    """The charts with their heading; nothing when there is nothing to draw."""
    colours = {role: f"var(--{role})" for role in PALETTE}
    figures = [
        f"<figure><figcaption>{escape(chart.title)}</figcaption>{chart_svg(chart, colours)}</figure>"
        for chart in charts_of(record)
    ]
    if not figures:
        return []
    note = "Bands are 95 % intervals over the rounds of each server by itself."
    return [f'<h2>Charts</h2><p>{note}</p><div class="charts">', *figures, "</div>"]


def _section(table: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_number(column.numeric)}>{escape(column.heading)}</th>' for column in table.columns
    )
    rows = "\n".join(f"<tr>{_cells(row, table.columns)}</tr>" for row in table.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>{notes}</section>"
    )


def _cells(row: Row, columns: Sequence[Column]) -> str:
    """The cells of a row; a verdict is coloured as its rate is, the last cell of any other table as the row is."""
    if row.rates:
        states = {FIRST_RATE + GROUP * (number + 1) - 1: rate.state for number, rate in enumerate(row.rates)}
    else:
        states = {len(columns) - 1: row.state}
    return "".join(
        f"<td{_number(column.numeric)}{_state(states.get(place))}>{escape(cell)}</td>"
        for place, (cell, column) in enumerate(zip(row.cells, columns, strict=True))
    )


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _state(state: RowState | None) -> str:
    told = {RowState.BETTER, RowState.WORSE, RowState.FAILED}
    return f' class="{state.value}"' if state in told else ""


def _style() -> str:
    light, dark = (" ".join(f"--{role}: {colour};" for role, colour in palette.items()) for palette in (PALETTE, DARK))
    return _STYLE % {"light": light, "dark": dark}
