"""The text CNN of Kim, "Convolutional Neural Networks for Sentence Classification" (EMNLP 2014), variant CNN-rand.

Its weights and its arithmetic; how they are learned is in `training`, how they are served in `saved_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

EMBEDDING = 128
WINDOWS = (3, 4, 5)  # words that a filter sees
FILTERS = 128  # a window
CLASSES = ("negative", "positive")
DROPOUT = 0.5


class Weights(NamedTuple):
    """Every variable of the network, float32."""

    embedding: tf.Variable  # [ids, 128]
    filters: tuple[tf.Variable, ...]  # a window of w words: [w, 128, 128]
    filter_bias: tf.Variable  # [384]
    kernel: tf.Variable  # [384, 2]
    bias: tf.Variable  # [2]


def initial_weights(ids: int, seed: int) -> Weights:
    """Weights drawn from `seed` for `ids` token ids: uniform embedding, Glorot filters and kernel, zero biases."""
    import tensorflow as tf

    draw = np.random.default_rng(seed)
    features = FILTERS * len(WINDOWS)
    return Weights(
        embedding=tf.Variable(draw.uniform(-0.05, 0.05, (ids, EMBEDDING)).astype(np.float32)),
        filters=tuple(tf.Variable(_glorot(draw, width, EMBEDDING, FILTERS)) for width in WINDOWS),
        filter_bias=tf.Variable(tf.zeros(features)),
        kernel=tf.Variable(_glorot(draw, 1, features, len(CLASSES))[0]),
        bias=tf.Variable(tf.zeros(len(CLASSES))),
    )


def _glorot(draw: np.random.Generator, width: int, inputs: int, outputs: int) -> NDArray[np.float32]:
    """A filter [width, inputs, outputs], uniform in ±√(6 / (fan in + fan out)) (Glorot and Bengio 2010)."""
    limit = np.sqrt(6 / (width * (inputs + outputs)))
    return draw.uniform(-limit, limit, (width, inputs, outputs)).astype(np.float32)


def features(weights: Weights, input_ids: tf.Tensor) -> tf.Tensor:
    """What the filters find in `input_ids` (int32 [n, 64]): float32 [n, 384].

    Bias and ReLU come after the maximum over time: both are monotone, so the result is the same, on 1/60 of the values.
    """
    import tensorflow as tf

    words = tf.gather(weights.embedding, input_ids)
    strongest = [tf.reduce_max(tf.nn.conv1d(words, kernel, 1, "VALID"), axis=1) for kernel in weights.filters]
    return tf.nn.relu(tf.nn.bias_add(tf.concat(strongest, axis=1), weights.filter_bias))


def logits(weights: Weights, found: tf.Tensor) -> tf.Tensor:
    """Unnormalised scores float32 [n, 2] of what the filters found (float32 [n, 384])."""
    import tensorflow as tf

    return tf.nn.bias_add(tf.matmul(found, weights.kernel), weights.bias)


def scores(weights: Weights, input_ids: tf.Tensor) -> tf.Tensor:
    """Probability of each of `CLASSES` for `input_ids` (int32 [n, 64]): float32 [n, 2]."""
    import tensorflow as tf

    return tf.nn.softmax(logits(weights, features(weights, input_ids)))
