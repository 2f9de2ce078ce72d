"""How the network learns: cross-entropy, dropout before the last layer, Adam. Same seed, same machine: same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textcnn_export.network import DROPOUT, Weights, features, logits, scores
from textcnn_export.tokens import TOKENS

if TYPE_CHECKING:
    import tensorflow as tf

    Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

EPOCHS = 2
BATCH = 50  # Kim 2014
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7  # Kingma and Ba 2015


class Progress(NamedTuple):
    """Where the training stands: `done` of `steps` steps of `epoch` (from 1) of `epochs`."""

    epoch: int
    epochs: int
    done: int
    steps: int


def train(weights: Weights, ids: tf.Tensor, labels: NDArray[np.int32], seed: int) -> Iterator[Progress]:
    """Train `weights` in place on `ids` (int32 [n, 64]) and `labels` (int32 [n]); yields after each step."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    step = _training_step(weights, seed)
    shuffle = np.random.default_rng(seed)
    number = 0
    for epoch in range(1, EPOCHS + 1):
        order = shuffle.permutation(len(labels)).astype(np.int32)
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        for done, rows in enumerate(batches, start=1):
            number += 1
            step(tf.gather(ids, rows), tf.constant(labels[rows]), tf.constant(number))
            yield Progress(epoch, EPOCHS, done, len(batches))


def accuracy(weights: Weights, ids: tf.Tensor, labels: NDArray[np.int32]) -> float:
    """Share (0…1) of `ids` (int32 [n, 64]) whose most probable class is the label (int32 [n])."""
    predicted = scores(weights, ids).numpy().argmax(axis=1)
    return float((predicted == labels).mean())


def _training_step(weights: Weights, seed: int) -> Step:
    """A compiled step (input ids, labels, step number from 1) → loss, which updates `weights`."""
    import tensorflow as tf

    variables = tf.nest.flatten(weights)
    update = _adam(variables)

    def step(input_ids: tf.Tensor, labels: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            found = features(weights, input_ids)
            kept = tf.nn.experimental.stateless_dropout(found, rate=DROPOUT, seed=[seed, number])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits(weights, kept))
            loss = tf.reduce_mean(losses)
        update(tape.gradient(loss, variables), number)
        return loss

    shapes: tuple[list[int | None], ...] = ([None, TOKENS], [None], [])
    compiled: Step = tf.function(step, input_signature=[tf.TensorSpec(shape, tf.int32) for shape in shapes])
    return compiled


def _adam(variables: list[tf.Variable]) -> Callable[[list[tf.Tensor], tf.Tensor], None]:
    """An Adam update (gradients, step number from 1) with its own moments, on TensorFlow's fused kernel."""
    import tensorflow as tf

    moments = [(tf.Variable(tf.zeros_like(value)), tf.Variable(tf.zeros_like(value))) for value in variables]

    def update(gradients: list[tf.Tensor], number: tf.Tensor) -> None:
        time = tf.cast(number, tf.float32)
        for variable, gradient, (mean, square) in zip(variables, gradients, moments, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=BETA_1**time,
                beta2_power=BETA_2**time,
                lr=LEARNING_RATE,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=tf.convert_to_tensor(gradient),
            )

    return update
