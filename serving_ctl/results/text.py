"""A table as aligned plain text for the terminal and for log files."""

from __future__ import annotations

from rich.cells import cell_len

from serving_ctl.results.tables import Column, Table


def table_text(table: Table) -> str:
    """Title, headings, rows and notes of ``table``; numbers are set to the right."""
    headings = [column.heading for column in table.columns]
    grid = [headings, *([*row.cells] for row in table.rows)]
    widths = [max(cell_len(line[i]) for line in grid) for i in range(len(headings))]
    lines = [
        "  ".join(_padded(text, width, column) for text, width, column in zip(line, widths, table.columns, strict=True))
        for line in grid
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join([table.title, lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), *table.notes])


def _padded(text: str, width: int, column: Column) -> str:
    space = " " * (width - cell_len(text))
    return space + text if column.numeric else text + space
