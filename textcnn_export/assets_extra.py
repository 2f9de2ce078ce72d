"""What lies beside the model in `assets.extra`: warm-up records for the server, held-out sentences for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

REQUESTS = 1_000


def write_assets_extra(folder: Path, model_name: str, texts: Sequence[str], ids: tf.Tensor) -> None:
    """Write `assets.extra` of the SavedModel in `folder` from held-out `texts` and their tokens (int32 [n, 64]).

    `tf_serving_warmup_requests`: a TFRecord with one PredictionLog for each signature, read by the server at load.
    `requests.jsonl`: 1,000 lines `{"text": str, "input_ids": [64 ints]}`.
    """
    assets = folder / "assets.extra"
    assets.mkdir()
    _write_warmup(assets / "tf_serving_warmup_requests", model_name, texts[:1], ids[:1])
    lines = (
        json.dumps({"text": text, "input_ids": row}, ensure_ascii=False)
        for text, row in zip(texts[:REQUESTS], ids[:REQUESTS].numpy().tolist(), strict=True)
    )
    (assets / "requests.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_warmup(path: Path, model_name: str, texts: Sequence[str], ids: tf.Tensor) -> None:
    """One record for `serving_default`, one for `text`."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as records:
        for signature, name, value in (("serving_default", "input_ids", ids), ("text", "text", tf.constant(texts))):
            records.write(_predict_log(model_name, signature, name, value).SerializeToString())


def _predict_log(model_name: str, signature: str, name: str, value: tf.Tensor) -> PredictionLog:
    """The record of one predict request whose only input `name` is `value`."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log
