"""The export from beginning to end: check, learn, write, publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from textcnn_export.corpus import Corpus, load_corpus
from textcnn_export.release import free_version, publish, staging_folder
from textcnn_export.tensorflow_start import import_tensorflow
from textcnn_export.write_errors import explained, native_write_errors

if TYPE_CHECKING:
    import tensorflow as tf

    from textcnn_export.network import Weights

SEED = 0  # of the split, the weights, the order of training and the dropout; not chosen for its result


def export_text_cnn(out: Path, model_name: str, version: int | None, *, trained: bool) -> Path:
    """Export the text CNN as `out`/`model_name`/`version` (None: the next free one) and return that folder.

    Raises ExportError when that cannot be done; nothing is left behind then.
    """
    from textcnn_export import tokens
    from textcnn_export.assets_extra import write_assets_extra
    from textcnn_export.network import initial_weights
    from textcnn_export.saved_model import write_saved_model

    model_folder = out / model_name
    with explained(model_folder):
        free_version(model_folder, version)  # before half a minute of training, not after it
    click.echo("starting TensorFlow", err=True)
    import_tensorflow()
    corpus = load_corpus(SEED)
    words = tokens.build_vocabulary(corpus.training.texts)
    table = tokens.vocabulary_table(words)
    weights = initial_weights(tokens.FIRST_WORD + len(words), SEED)
    held_out_ids = _ids(table, corpus.held_out.texts)
    with explained(model_folder), staging_folder(model_folder) as staged:
        if trained:
            _train(weights, table, corpus, held_out_ids)
        click.echo("writing the SavedModel", err=True)
        with native_write_errors():
            write_saved_model(staged, weights, table)
            write_assets_extra(staged, model_name, corpus.held_out.texts, held_out_ids)
        return publish(staged, version)


def _train(weights: Weights, table: tf.lookup.StaticHashTable, corpus: Corpus, held_out_ids: tf.Tensor) -> None:
    """Train `weights` in place and say the accuracy on the held-out tenth."""
    from textcnn_export.progress import show_training
    from textcnn_export.training import accuracy, train

    show_training(train(weights, _ids(table, corpus.training.texts), corpus.training.labels, SEED))
    share = accuracy(weights, held_out_ids, corpus.held_out.labels)
    count = len(corpus.held_out.texts)
    click.echo(f"held-out accuracy {100 * share:.1f} % ({count:,} sentences, seed {SEED})", err=True)


def _ids(table: tf.lookup.StaticHashTable, texts: list[str]) -> tf.Tensor:
    """The tokens of `texts`, int32 [n, 64]."""
    import tensorflow as tf

    from textcnn_export.tokens import token_ids

    return token_ids(table, tf.constant(texts))
