"""How sentences become ids."""

from __future__ import annotations

from typing import Any

import pytest

from textcnn_export import tokens

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("It DIDN'T work, did it?!", ["it", "did", "n't", "work", "did", "it", "?", "!"]),
        ("The film's ''Conan'' &amp; clichés…", ["the", "film", "'s", "conan", "amp", "clichés"]),
        (" \t\n", []),
        ("21st-century", ["21st", "century"]),
    ],
)
def test_split_words(tensorflow: Any, sentence: str, words: list[str]) -> None:
    split = tokens.split_words(tensorflow.constant([sentence])).to_list()
    assert [[word.decode() for word in row] for row in split] == [words]


def test_vocabulary_is_ordered_by_frequency_then_bytes() -> None:
    assert tokens.build_vocabulary(["b a c", "c b", "c"]) == [b"c", b"b", b"a"]


def test_vocabulary_keeps_room_for_padding_and_unknown() -> None:
    words = tokens.build_vocabulary([f"w{number}" for number in range(tokens.VOCABULARY_LIMIT + 5)])
    assert len(words) + tokens.FIRST_WORD == tokens.VOCABULARY_LIMIT


def test_ids_are_cut_padded_and_unknown(tensorflow: Any) -> None:
    table = tokens.vocabulary_table([b"good", b"film"])
    ids = tokens.token_ids(table, tensorflow.constant(["Good film", "odd film", "", "film " * 100])).numpy()
    assert ids.shape == (4, 64)
    assert ids.dtype.name == "int32"
    assert [row[:3].tolist() for row in ids] == [[2, 3, 0], [1, 3, 0], [0, 0, 0], [3, 3, 3]]
    assert set(ids[3].tolist()) == {3}
