"""The SavedModel: two signatures over the same weights, with the vocabulary inside the graph.

What lies beside it for servers and benchmarks is in `assets_extra`; where it lands is decided in `release`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textcnn_export.network import CLASSES, Weights, scores
from textcnn_export.tokens import TOKENS, token_ids

if TYPE_CHECKING:
    import tensorflow as tf


def write_saved_model(folder: Path, weights: Weights, table: tf.lookup.StaticHashTable) -> None:
    """Write the SavedModel into `folder`.

    `serving_default`: `input_ids` int32 [n, 64] → `scores` float32 [n, 2].
    `text`: `text` string [n] → `scores` float32 [n, 2], `label` string [n].
    Raises tf.errors.OpError or OSError when the folder cannot be written.
    """
    import tensorflow as tf

    def serving_default(input_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": scores(weights, input_ids)}

    def text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = scores(weights, token_ids(table, text))
        return {
            "scores": probabilities,
            "label": tf.gather(tf.constant(CLASSES), tf.argmax(probabilities, axis=1)),
        }

    module = tf.Module(name="text_cnn")
    module.trained = tf.nest.flatten(weights)
    module.vocabulary = table
    signatures = {
        "serving_default": tf.function(serving_default, input_signature=[tf.TensorSpec([None, TOKENS], tf.int32)]),
        "text": tf.function(text, input_signature=[tf.TensorSpec([None], tf.string)]),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
