"""Warm-up: the requests an exporter put beside the model are run once before the version is offered."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving_ctl.embedded.servable import DEFAULT_SIGNATURE, Servable
from serving_ctl.embedded.status import StatusError, from_tensorflow, invalid
from serving_ctl.embedded.tensors import Tensor

_log = logging.getLogger(__name__)
_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST_RECORDS = 1000


def warm_up(servable: Servable, iterations: int = 1) -> int:
    """Replay the version's warm-up records, each ``iterations`` times; returns how many records there were.

    Raises StatusError if the file is damaged, has more than 1000 records, or a request in it fails: the version then
    does not load, as with the real server.
    """
    path = servable.path / _FILE
    if not path.exists():
        _log.info("No warmup data file found at %s", path)
        return 0
    _log.info("Starting to read warmup data for model at %s", path)
    began = time.perf_counter()
    count = 0
    for count, record in enumerate(_records(path), 1):
        if count > _MOST_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({_MOST_RECORDS}) at {path}")
        signature, tensors = _request(prediction_log_pb2.PredictionLog.FromString(record))
        for _ in range(iterations):
            _replay(servable, signature, tensors)
    _log.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d."
        " Elapsed time (microseconds): %d.",
        path,
        count,
        (time.perf_counter() - began) * 1e6,
    )
    return count


def _replay(servable: Servable, signature: str, tensors: dict[str, Tensor]) -> None:
    try:
        servable.signature(signature).run(tensors)
    except StatusError as error:
        # The limit is for requests; the real server's warm-up has none. What ran that long is warm.
        if error.code != "DEADLINE_EXCEEDED":
            raise


def _records(path: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise from_tensorflow(error) from None


def _request(log: Any) -> tuple[str, dict[str, Tensor]]:
    """Signature name and tensors of one record."""
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        tensors = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        return request.model_spec.signature_name, tensors
    if kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        return request.model_spec.signature_name or DEFAULT_SIGNATURE, {"inputs": _serialized(request.input)}
    raise StatusError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")


def _serialized(source: Any) -> Tensor:
    context = b""
    examples = source.example_list.examples
    if source.WhichOneof("kind") == "example_list_with_context":
        context = source.example_list_with_context.context.SerializeToString()
        examples = source.example_list_with_context.examples
    serialized = np.empty(len(examples), object)
    serialized[:] = [context + example.SerializeToString() for example in examples]
    return serialized
