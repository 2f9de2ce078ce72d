"""What a file system refuses, whoever was told so, as one error that says what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textcnn_export.errors import ExportError

_FULL = {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)}


@contextmanager
def explained(model_folder: Path) -> Iterator[None]:
    """Raise ExportError instead of any OSError inside; `model_folder` is what was to be written."""
    try:
        yield
    except OSError as error:
        reason = ": ".join(filter(None, (error.strerror or str(error), error.filename)))
        advice = "free some space, or choose" if any(words in reason for words in _FULL) else "choose"
        raise ExportError(f"cannot export to {model_folder}: {reason}; {advice} another folder with --out") from error


@contextmanager
def native_write_errors() -> Iterator[None]:
    """Raise OSError instead of any tf.errors.OpError inside, with the system's words."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(_reason(error.message)) from error


def _reason(message: str) -> str:
    """The system's words in a TensorFlow message: `{{…}} /path/of/file; No space left on device [Op:SaveV2]`."""
    return message.rpartition(";")[2].partition("[Op:")[0].strip()
