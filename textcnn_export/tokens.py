"""How a sentence becomes 64 token ids, in TensorFlow operations only, so that the served graph does exactly the same.

Core string, regular-expression and hash-table operations: a stock TensorFlow Serving runs them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

TOKENS = 64  # ids a sentence: longer ones are cut, shorter ones padded
PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
VOCABULARY_LIMIT = 20_000  # ids, padding and unknown included

_BETWEEN_WORDS = r"([^\pL\pN'!?]|'')+"
_INSIDE_A_WORD = r"n't|'\pL+|[!?]"  # didn't → did n't, film's → film 's, as in Kim 2014


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Lower-case tokens of `texts` (string [n]) as a ragged string tensor [n, words]."""
    import tensorflow as tf

    lowered = tf.strings.lower(texts, encoding="utf-8")
    spaced = tf.strings.regex_replace(lowered, _BETWEEN_WORDS, " ")
    return tf.strings.split(tf.strings.regex_replace(spaced, _INSIDE_A_WORD, r" \0 "))


def build_vocabulary(texts: Sequence[str]) -> list[bytes]:
    """The words of `texts`, most frequent first (ties in byte order), cut to `VOCABULARY_LIMIT` ids."""
    import tensorflow as tf

    counts: Counter[bytes] = Counter(split_words(tf.constant(texts)).flat_values.numpy().tolist())
    by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
    return by_frequency[: VOCABULARY_LIMIT - FIRST_WORD]


def vocabulary_table(words: Sequence[bytes]) -> tf.lookup.StaticHashTable:
    """The hash table word → id (int32); a word that is not in `words` is `UNKNOWN`."""
    import tensorflow as tf

    ids = tf.range(FIRST_WORD, FIRST_WORD + len(words))
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(words), ids), UNKNOWN)


def token_ids(table: tf.lookup.StaticHashTable, texts: tf.Tensor) -> tf.Tensor:
    """The ids of `texts` (string [n]) as int32 [n, 64]."""
    import tensorflow as tf

    ids = tf.ragged.map_flat_values(table.lookup, split_words(texts))
    return ids.to_tensor(default_value=PADDING, shape=[None, TOKENS])
