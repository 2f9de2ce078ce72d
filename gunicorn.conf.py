"""gunicorn's settings for `flask_serving:app`, read unasked from the working folder. The command line overrides them.

What can stop the start is checked here, before a worker exists and without TensorFlow, and said in one line.
Each worker loads the model after its fork; if that fails, the arbiter stops and says why, once.
"""

import importlib.util
import mmap
import os
import signal
from functools import cache
from pathlib import Path

from gunicorn.errors import HaltServer

import flask_serving
from flask_serving.model import ModelError
from flask_serving.settings import Settings, SettingsError, find_model

_missing = [name for name in ("flask", "orjson", "tensorflow") if importlib.util.find_spec(name) is None]
if _missing:
    raise SystemExit(f"flask_serving needs tfserve-tui[local]; not installed here: {', '.join(_missing)}")
try:
    find_model(Settings.from_environment())
except SettingsError as _error:
    raise SystemExit(f"flask_serving: {_error}") from None

bind = "127.0.0.1:7123"
workers = 4
timeout = 600  # seconds; a batch of 10,000 keeps a worker busy longer than the default 30
backlog = 2048

_BOOT_ERROR = 3  # gunicorn's exit code when workers cannot boot
# Shared with the workers across the fork: why the model could not be loaded, filled up with zero bytes.
_load_failure = mmap.mmap(-1, 4096)


def post_worker_init(worker):
    """Load the model in the worker; a SIGTERM meanwhile ends it at once instead of after the load."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        model = flask_serving.load_model()
    except ModelError as error:
        _load_failure[:] = str(error).encode()[:4095].ljust(4096, b"\0")
        raise SystemExit(0) from None  # child_exit speaks for all workers; another code would print a line for each
    worker.init_signals()
    place, seconds = model.location, model.load_seconds
    worker.log.info("Loaded %s version %d in %.1f s (pid: %d)", place.name, place.version, seconds, worker.pid)


def child_exit(server, worker):
    """Stop the arbiter when a worker could not load the model: the next one would fail in the same way."""
    reason = _load_failure[:].rstrip(b"\0").decode(errors="replace")
    already_stopping = not server.LISTENERS
    if reason and not already_stopping:
        raise HaltServer(reason, _BOOT_ERROR)


if _counts_folder := os.environ.get("TFSERVE_WORKER_COUNTS"):

    @cache
    def _count_file(pid):
        return os.open(Path(_counts_folder, str(pid)), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)

    def post_request(worker, _request, _environ, _response):
        """Keep the number of requests this worker has served in the file <folder>/<pid>, as decimal digits."""
        os.pwrite(_count_file(worker.pid), b"%d" % worker.nr, 0)
