"""What a real TensorFlow Serving answered is what the baseline answers, but for the differences named here."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

TRANSCRIPTS = {item["name"]: item for item in json.loads(Path("tests/data/rest-transcripts.json").read_text())}
SERVED = {"half_plus_two", "two_in_two_out", "text", "kinds", "half", "fixed_batch", "classic"}
DIFFERENT = {
    "one version is served, the newest": {"status", "metadata_version", "predict_version_1"},
    "no version labels": {"status_label", "predict_label_stable"},
    "no classify or regress": {
        "classify",
        "classify_missing_examples",
        "classify_wrong_signature",
        "classify_not_a_classifier",
        "regress",
        "regress_default_signature",
        "regress_not_a_regressor",
    },
    "a tensor that does not fit the signature is refused": {"predict_fixed_batch_wrong", "predict_wrong_shape"},
    "the last of equal keys counts": {"predict_duplicate_key"},
    "errors are JSON everywhere, and HEAD is answered": {"options", "root", "unknown_path", "head_status"},
}
SAME = sorted(set(TRANSCRIPTS) - set().union(*DIFFERENT.values()))


def body_of(transcript: dict) -> bytes | None:
    if "body_base64" in transcript:
        return base64.b64decode(transcript["body_base64"])
    return transcript["body"].encode() if "body" in transcript else None


def recorded(body: str):
    """An answer as a JSON value; the file writes a byte that is not UTF-8 as backslash, x and two digits."""
    return json.loads(re.sub(r"\\x([0-9a-f]{2})", lambda hit: chr(0xDC00 + int(hit[1], 16)), body))


def without_tensor_names(value):
    """Metadata without the graph's own tensor names, which change with the TensorFlow that exported the model."""
    if isinstance(value, dict):
        is_tensor = "dtype" in value
        return {k: without_tensor_names(v) for k, v in value.items() if not (is_tensor and k == "name")}
    return [without_tensor_names(item) for item in value] if isinstance(value, list) else value


def test_every_named_difference_is_a_transcript():
    assert set().union(*DIFFERENT.values()) <= set(TRANSCRIPTS)
    assert len(SAME) > 45


@pytest.mark.parametrize("name", SAME)
def test_same_answer_as_tensorflow_serving(name, serving):
    transcript = TRANSCRIPTS[name]
    model = re.search(r"/models/(\w+)|$", transcript["path"])[1]
    server = serving(model if model in SERVED else "half_plus_two")
    answer = server.ask(transcript["method"], transcript["path"], body_of(transcript), transcript["headers"])
    expected = recorded(transcript["response"]["body"])
    assert answer.status == transcript["response"]["status"], answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert without_tensor_names(answer.json) == without_tensor_names(expected)
