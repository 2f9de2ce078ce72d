"""Files made of a run, one module a format; the file's ending chooses it.

``-`` is stdout, as Markdown; ``-.csv`` is stdout as CSV, and so on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from serving_ctl.errors import ConfigError
from serving_ctl.results.document import json_document
from serving_ctl.results.export.csv import csv_document
from serving_ctl.results.export.markdown import markdown_document
from serving_ctl.results.record import RunRecord

STDOUT = "-"
STDOUT_ENDING = ".md"


def check_export(path: Path) -> None:
    """Raise ConfigError now, before anything is measured, when ``path`` could not be written later."""
    if _ending(path) not in FORMATS:
        raise ConfigError(
            f"{path}: cannot export to {path.suffix or 'a file without ending'!r}; known: {', '.join(FORMATS)}."
        )
    if is_stdout(path):
        return
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: cannot be written: {'it is a folder' if path.is_dir() else 'permission denied'}.")


def is_stdout(path: Path) -> bool:
    """True for ``-`` and for ``-.md``, ``-.csv`` and so on."""
    return str(path) == STDOUT or (path.stem == STDOUT and path.parent == Path())


def render(record: RunRecord, path: Path) -> bytes:
    """``record`` in the format of the ending of ``path``. Raises ConfigError when it is unknown."""
    check_export(path)
    return FORMATS[_ending(path)](record)


def write_export(record: RunRecord, path: Path) -> None:
    """Write ``record`` to ``path`` in the format of its ending, whole or not at all. Raises ConfigError."""
    content = render(record, path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # what was half written; the disk's own trouble is said below
            unfinished.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None


def _ending(path: Path) -> str:
    return STDOUT_ENDING if str(path) == STDOUT else path.suffix


def _markdown(record: RunRecord) -> bytes:
    return markdown_document(record).encode("utf-8")


def _csv(record: RunRecord) -> bytes:
    return csv_document(record).encode("utf-8")


def _json(record: RunRecord) -> bytes:
    return msgspec.json.format(msgspec.json.encode(json_document(record)), indent=2) + b"\n"


def _html(record: RunRecord) -> bytes:
    from serving_ctl.results.export.html import html_document

    return html_document(record).encode("utf-8")


def _svg(record: RunRecord) -> bytes:
    from serving_ctl.results.export.charts import charts_picture

    return charts_picture(record, "svg")


def _png(record: RunRecord) -> bytes:
    from serving_ctl.results.export.charts import charts_picture

    return charts_picture(record, "png")


FORMATS: dict[str, Callable[[RunRecord], bytes]] = {
    ".md": _markdown,
    ".csv": _csv,
    ".json": _json,
    ".html": _html,
    ".svg": _svg,
    ".png": _png,
}
