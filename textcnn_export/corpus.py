"""The sentences the model is trained on, and the tenth of them that it never sees.

How a sentence becomes tokens is in `tokens`; source and licence of the data are in `data/LICENSE`.
"""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 10  # one sentence in ten


@dataclass(frozen=True)
class Sentences:
    """Texts and their labels (int32 [n]; 1 = positive, that is a mean human rating above 0)."""

    texts: list[str]
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class Corpus:
    """The sentences to learn from and the held-out tenth, in shuffled order."""

    training: Sentences
    held_out: Sentences


def load_corpus(seed: int) -> Corpus:
    """Read the shipped sentences and split them by a permutation drawn from `seed`."""
    texts, labels = _read()
    order = np.random.default_rng(seed).permutation(len(texts))
    cut = len(texts) // HELD_OUT_SHARE

    def pick(rows: NDArray[np.int64]) -> Sentences:
        return Sentences([texts[row] for row in rows], labels[rows])

    return Corpus(training=pick(order[cut:]), held_out=pick(order[:cut]))


def _read() -> tuple[list[str], NDArray[np.int32]]:
    """All texts and labels, in the order of the file."""
    packed = resources.files("textcnn_export").joinpath("data/movie_reviews.tsv.gz").read_bytes()
    with io.TextIOWrapper(gzip.GzipFile(fileobj=io.BytesIO(packed)), encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t", 1) for line in lines]
    ratings = np.array([float(rating) for rating, _ in rows])
    return [text for _, text in rows], (ratings > 0).astype(np.int32)
