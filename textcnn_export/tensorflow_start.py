"""Importing TensorFlow so that its own start-up talk does not reach the user."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from textcnn_export.errors import ExportError


def import_tensorflow() -> None:
    """Import TensorFlow and its serving protos for the first time. Raises ExportError when they are not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # TensorFlow would load Keras, and that Matplotlib: a quarter of its import. The older Keras is not installed.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    try:
        with _native_stderr_dropped():
            tf = importlib.import_module("tensorflow")
            importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"tensorflow", "tensorflow_serving"}:
            raise
        needs = "textcnn-export needs tfserve-tui[local]: pip install 'tfserve-tui[local]'"
        raise ExportError(needs) from error
    tf.get_logger().setLevel("ERROR")


@contextmanager
def _native_stderr_dropped() -> Iterator[None]:
    """Drop what is written to file descriptor 2: TensorFlow 2.21 logs before it has read TF_CPP_MIN_LOG_LEVEL."""
    with tempfile.TemporaryFile() as dropped:
        kept = os.dup(2)
        os.dup2(dropped.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
