"""The running server: its parts put together, its order of start and end, the readiness lines.

Models are loaded before the port opens, as with the real server.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import uvloop

from serving_ctl.embedded.batching import Batcher
from serving_ctl.embedded.catalog import Catalog, WatchSettings
from serving_ctl.embedded.config_files import BatchingParameters, read_own_batching
from serving_ctl.embedded.connection import Limits
from serving_ctl.embedded.front import Front
from serving_ctl.embedded.handler import Handler
from serving_ctl.embedded.metrics import Metrics
from serving_ctl.embedded.options import Options
from serving_ctl.embedded.servable import Ran, Servable, SessionSettings, Signature
from serving_ctl.embedded.startup import Configured
from serving_ctl.embedded.tensors import Tensor
from serving_ctl.embedded.versions import Retries
from serving_ctl.embedded.warmup import warm_up

_log = logging.getLogger(__name__)
_IDLE_S = 60  # how long a kept-alive connection may stay silent, and a client read nothing of its answer


class EmbeddedServer:
    """One server process: construct it, then ``run``."""

    def __init__(self, options: Options, configured: Configured) -> None:
        """StatusError if the models cannot be configured as asked for."""
        self._options = options
        self._metrics = Metrics()
        self._settings = _session_settings(options)
        self._catalog = Catalog(configured.models, self._load, _watch_settings(options))
        self._timeout_s = max(options.rest_api_timeout_in_ms, 0) / 1e3 or None
        self._batching = configured.batching
        self._batcher = self._new_batcher()
        self._threads = ThreadPoolExecutor(options.rest_api_num_threads, "rest")
        cors = options.rest_api_enable_cors_support
        handler = Handler(self._catalog, self._metrics, self._run, metrics_path=configured.metrics_path, cors=cors)
        self._front = Front(
            handler.answer,
            self._threads,
            limits=Limits(request_s=self._timeout_s or math.inf, idle_s=_IDLE_S),
            waits_for_others=self._batcher is not None,
            cors=cors,
        )

    def run(self, listener: socket.socket) -> None:
        """Load the models, then serve on ``listener`` (bound, not yet listening) until a signal comes.

        Raises StatusError if a model cannot be loaded, OSError if the port was taken meanwhile.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._catalog.start()
        try:
            if self._catalog.wait_until_loaded():
                gc.collect()
                gc.freeze()  # TensorFlow's million objects never again cost a request a full collection
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(self._front.serve(listener, lambda: _say_ready(listener)))
        finally:
            self._catalog.stop()
            self._threads.shutdown(cancel_futures=True)
            if self._batcher is not None:
                self._batcher.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Until ``Front`` takes signals itself: end the wait for the models."""
        self._catalog.stop()
        self._front.stop()

    def _new_batcher(self) -> Batcher | None:
        if self._batching is None:
            return None
        return Batcher(self._batching.num_batch_threads, self._metrics, self._timeout_s)

    def _load(self, model: str, version: int, path: Path) -> Servable:
        servable = Servable(path, version, self._settings)
        servable.batching = self._batching_of(path)
        if self._options.enable_model_warmup:
            records = warm_up(servable, max(self._options.num_request_iterations_for_warmup, 1))
            self._metrics.warmup(model, records)
        return servable

    def _batching_of(self, path: Path) -> BatchingParameters | None:
        if self._batching is not None and self._options.enable_per_model_batching_parameters:
            return read_own_batching(path)
        return self._batching

    def _run(self, servable: Servable, signature: Signature, tensors: dict[str, Tensor]) -> Ran:
        if self._batcher is not None and servable.batching is not None:
            return self._batcher.run(signature, tensors, servable.batching)
        ran = signature.run(tensors)
        self._metrics.graph_run(ran.graph_s)
        return ran


def _say_ready(listener: socket.socket) -> None:
    """The two lines a readiness parser waits for, in the real server's words."""
    _log.info("Exporting HTTP/REST API at:localhost:%d ...", listener.getsockname()[1])
    _log.info("NET_LOG: Entering the event loop ...")


def _session_settings(options: Options) -> SessionSettings:
    both = options.tensorflow_session_parallelism
    return SessionSettings(
        options.tensorflow_intra_op_parallelism or both,
        options.tensorflow_inter_op_parallelism or both,
        options.rest_api_timeout_in_ms,
        tuple(options.saved_model_tags.split(",")),
    )


def _watch_settings(options: Options) -> WatchSettings:
    return WatchSettings(
        options.file_system_poll_wait_seconds,
        options.model_config_file_poll_wait_seconds,
        options.allow_version_labels_for_unavailable_models,
        Retries(options.max_num_load_retries, options.load_retry_interval_micros / 1e6),
    )
