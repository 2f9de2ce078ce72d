"""The running server: its parts put together, the socket, the signals, the readiness lines.

Models are loaded before the port opens, as with the real server. SIGTERM or SIGINT: requests under way are answered,
then exit 0.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import uvicorn

from serving_ctl.embedded.app import App
from serving_ctl.embedded.batching import Batcher
from serving_ctl.embedded.catalog import Catalog, WatchSettings
from serving_ctl.embedded.config_files import BatchingParameters
from serving_ctl.embedded.handler import Handler
from serving_ctl.embedded.metrics import Metrics
from serving_ctl.embedded.options import Options
from serving_ctl.embedded.servable import Ran, Servable, SessionSettings, Signature
from serving_ctl.embedded.startup import Configured
from serving_ctl.embedded.tensors import Tensor
from serving_ctl.embedded.versions import Retries
from serving_ctl.embedded.warmup import warm_up

_log = logging.getLogger(__name__)
_BACKLOG = 4096
_DRAIN_S = 30  # how long requests under way may take after SIGTERM
_IDLE_S = 60  # how long a kept-alive connection may stay silent


class _Listening(uvicorn.Server):
    """uvicorn's server, which also says that it is ready in the real server's words."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then print the two lines a readiness parser waits for."""
        await super().startup(sockets)
        assert sockets
        _log.info("Exporting HTTP/REST API at:localhost:%d ...", sockets[0].getsockname()[1])
        _log.info("NET_LOG: Entering the event loop ...")


class EmbeddedServer:
    """One server process: construct it, then ``run``."""

    def __init__(self, options: Options, configured: Configured) -> None:
        """StatusError if the models cannot be configured as asked for."""
        self._options = options
        self._metrics = Metrics()
        self._settings = _session_settings(options)
        self._catalog = Catalog(configured.models, self._load, _watch_settings(options))
        self._handler = Handler(self._catalog, self._metrics, self._run, configured.metrics_path)
        self._batcher = self._batched(configured.batching)
        self._uvicorn: _Listening | None = None

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
                listener.listen(_BACKLOG)
                self._serve(listener)
        finally:
            self._catalog.stop()
            if self._batcher is not None:
                self._batcher.close()

    def _serve(self, listener: socket.socket) -> None:
        with ThreadPoolExecutor(self._options.rest_api_num_threads, "rest") as threads:
            app = App(self._handler, threads, self._alone)
            config = uvicorn.Config(
                app, loop="uvloop", http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None,
                access_log=False, server_header=False, backlog=_BACKLOG, timeout_keep_alive=_IDLE_S,
                timeout_graceful_shutdown=_DRAIN_S,
            )  # fmt: skip
            self._uvicorn = _Listening(config)
            self._uvicorn.run([listener])

    def _alone(self) -> bool:
        """Whether no other request is being worked on; with batching, requests wait for others and never are."""
        assert self._uvicorn is not None
        return self._batcher is None and len(self._uvicorn.server_state.tasks) <= 1

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Before uvicorn runs, this ends the wait for the models; afterwards uvicorn takes the signals itself."""
        self._catalog.stop()

    def _batched(self, parameters: BatchingParameters | None) -> Batcher | None:
        if parameters is None:
            return None
        timeout_ms = self._options.rest_api_timeout_in_ms
        return Batcher(parameters, self._metrics, timeout_ms / 1e3 if timeout_ms > 0 else None)

    def _load(self, model: str, version: int, path: Path) -> Servable:
        servable = Servable(path, version, self._settings)
        if self._options.enable_model_warmup:
            records = warm_up(servable, max(self._options.num_request_iterations_for_warmup, 1))
            self._metrics.warmup(model, records)
        return servable

    def _run(self, signature: Signature, tensors: dict[str, Tensor]) -> Ran:
        if self._batcher is not None:
            return self._batcher.run(signature, tensors)
        ran = signature.run(tensors)
        self._metrics.graph_run(ran.graph_s)
        return ran


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
