"""A run as one document, whatever it is written as: its sentences, all its tables in order, and its JSON (schema 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from serving_ctl import formatting
from serving_ctl.events import RunFailed
from serving_ctl.results.details import detail_tables
from serving_ctl.results.histograms import encode_buckets
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import Table, fairness_table, ladder_tables

SCHEMA = 1
"""Described in docs/schema-v1.md; a field may be added, none changes its meaning under the same number."""


def all_tables(record: RunRecord) -> tuple[Table, ...]:
    """Ratios, failed requests, what explains them, the fairness card."""
    return (*ladder_tables(record), *detail_tables(record), fairness_table(record))


def sentences(record: RunRecord) -> tuple[str, ...]:
    """Title; what was measured, how and when; and, when it did not reach its end, that."""
    run = record.started
    first, *others = (f"{target.label} ({target.version})" for target in record.targets)
    about = (
        f"{first} against {_listed(others)}; model {run.model}, signature {run.signature}; "
        f"preset {run.preset}, profile {run.profile}, "
        f"{formatting.plural(run.rounds, 'round')}; {run.started_at}; tfserve-tui {run.tool_version}; run {run.run_id}."
    )
    if record.end is None:
        return run.title, about, "This run has no end: it was cut off. The finished cells follow."
    if isinstance(record.end, RunFailed):
        reason = record.end.reason.rstrip(".")
        return run.title, about, f"This run ended early: {reason}. The finished cells follow."
    return run.title, about


def _listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def json_document(record: RunRecord) -> dict[str, Any]:
    """The whole run and its tables, ready to be encoded; histograms in the V2 encoding that other tools read."""
    run: dict[str, Any] = msgspec.to_builtins(record)
    for written, cell in zip(run["cells"], record.cells, strict=True):
        written["histogram"] = encode_buckets(cell.histogram)
    return {"schema": SCHEMA, "run": run, "tables": ladder_tables(record)}
