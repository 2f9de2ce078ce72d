"""The exported model: what is in the folder, and that both signatures say the same of the same sentence."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from textcnn_export.corpus import load_corpus
from textcnn_export.tokens import split_words

REQUESTS = 1_000


@pytest.fixture(scope="module")
def requests(trained: Any) -> list[dict[str, Any]]:
    lines = (trained.folder / "assets.extra" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def by_ids(signatures: Any, tensorflow: Any, requests: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    ids = tensorflow.constant([request["input_ids"] for request in requests], tensorflow.int32)
    scores: np.ndarray[Any, Any] = signatures["serving_default"](input_ids=ids)["scores"].numpy()
    return scores


def test_training_reaches_75_percent_on_the_held_out_tenth(trained: Any) -> None:
    said = re.search(r"held-out accuracy (\d+\.\d) % \(1,060 sentences, seed 0\)", trained.stderr)
    assert said is not None, trained.stderr
    assert float(said[1]) >= 75


def test_the_command_says_progress_in_plain_lines_and_nothing_of_tensorflow(trained: Any) -> None:
    steps = [f"epoch {epoch}/2 {percent} %" for epoch in (1, 2) for percent in range(10, 101, 10)]
    accuracy = next(line for line in trained.stderr.splitlines() if line.startswith("held-out"))
    assert trained.stderr.splitlines() == ["starting TensorFlow", *steps, accuracy, "writing the SavedModel"]
    assert trained.stdout == f"{trained.folder}\n"


def test_another_user_can_read_everything(trained: Any) -> None:
    paths = [trained.folder.parent, trained.folder, *trained.folder.rglob("*")]
    modes = {path: oct(path.stat().st_mode & 0o777) for path in paths}
    assert modes == {path: "0o755" if path.is_dir() else "0o644" for path in paths}
    assert [entry.name for entry in trained.folder.parent.iterdir()] == ["1"]


def test_signatures_have_the_promised_names_types_and_shapes(signatures: Any) -> None:
    def described(specs: dict[str, Any]) -> dict[str, tuple[str, list[int | None]]]:
        return {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in specs.items()}

    assert set(signatures) == {"serving_default", "text"}
    ids, text = signatures["serving_default"], signatures["text"]
    assert described(ids.structured_input_signature[1]) == {"input_ids": ("int32", [None, 64])}
    assert described(ids.structured_outputs) == {"scores": ("float32", [None, 2])}
    assert described(text.structured_input_signature[1]) == {"text": ("string", [None])}
    assert described(text.structured_outputs) == {"scores": ("float32", [None, 2]), "label": ("string", [None])}


def test_requests_are_held_out_sentences_with_64_ids(requests: list[dict[str, Any]]) -> None:
    assert [request["text"] for request in requests] == load_corpus(0).held_out.texts[:REQUESTS]
    assert {tuple(request) for request in requests} == {("text", "input_ids")}
    assert {len(request["input_ids"]) for request in requests} == {64}


def test_requests_carry_the_tokens_of_the_graph(trained: Any, tensorflow: Any, requests: list[dict[str, Any]]) -> None:
    """Words are looked up in the vocabulary read back from the written graph."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graph = SavedModel.FromString((trained.folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    constants = [tensorflow.make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"]
    words = max((value for value in constants if value.dtype == object), key=np.size)
    vocabulary = {word: number for number, word in enumerate(words.tolist(), start=2)}
    assert 10_000 < len(vocabulary) <= 19_998
    split = split_words(tensorflow.constant([request["text"] for request in requests])).to_list()
    expected = [([vocabulary.get(word, 1) for word in row] + [0] * 64)[:64] for row in split]
    assert [request["input_ids"] for request in requests] == expected


def test_both_signatures_agree_on_every_request(
    signatures: Any, tensorflow: Any, requests: list[dict[str, Any]], by_ids: np.ndarray[Any, Any]
) -> None:
    answer = signatures["text"](text=tensorflow.constant([request["text"] for request in requests]))
    np.testing.assert_allclose(answer["scores"].numpy(), by_ids, rtol=1e-6, atol=1e-7)
    names = np.array([b"negative", b"positive"], dtype=object)
    assert answer["label"].numpy().tolist() == names[by_ids.argmax(axis=1)].tolist()


def test_scores_are_probabilities_that_fit_the_labels(by_ids: np.ndarray[Any, Any]) -> None:
    np.testing.assert_allclose(by_ids.sum(axis=1), 1, rtol=1e-5)
    assert (by_ids.argmax(axis=1) == load_corpus(0).held_out.labels[:REQUESTS]).mean() >= 0.75


@pytest.mark.parametrize("text", [b"", b"!", b"word " * 1_000, b"\xff\xfe broken \xc3", "凄い clichés".encode()])
def test_any_bytes_are_answered(signatures: Any, tensorflow: Any, text: bytes) -> None:
    answer = signatures["text"](text=tensorflow.constant([text]))
    assert np.isfinite(answer["scores"].numpy()).all()
    assert answer["label"].numpy()[0] in {b"negative", b"positive"}


def test_warm_up_records_can_be_replayed_on_their_signatures(trained: Any, signatures: Any, tensorflow: Any) -> None:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = str(trained.folder / "assets.extra" / "tf_serving_warmup_requests")
    logs = [PredictionLog.FromString(record.numpy()) for record in tensorflow.data.TFRecordDataset(path)]
    asked = [log.predict_log.request for log in logs]
    assert [(one.model_spec.name, one.model_spec.signature_name) for one in asked] == [
        ("text_cnn", "serving_default"),
        ("text_cnn", "text"),
    ]
    answers = [
        signatures[one.model_spec.signature_name](
            **{name: tensorflow.constant(tensorflow.make_ndarray(value)) for name, value in one.inputs.items()}
        )["scores"].numpy()
        for one in asked
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)
