"""Files made of a finished run, one module a format; ``write_export`` chooses by the file's ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from serving_ctl.errors import ConfigError
from serving_ctl.results.export.markdown import markdown_document
from serving_ctl.results.record import RunRecord

FORMATS: dict[str, Callable[[RunRecord], str]] = {".md": markdown_document}


def check_export(path: Path) -> None:
    """Raise ConfigError now, before anything is measured, when ``path`` could not be written later."""
    if path.suffix not in FORMATS:
        raise ConfigError(
            f"{path}: cannot export to {path.suffix or 'a file without ending'!r}; known: {', '.join(FORMATS)}."
        )
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: cannot be written: {'it is a folder' if path.is_dir() else 'permission denied'}.")


def write_export(record: RunRecord, path: Path) -> None:
    """Write ``record`` to ``path`` in the format of its ending. Raises ConfigError."""
    check_export(path)
    text = FORMATS[path.suffix](record)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None
