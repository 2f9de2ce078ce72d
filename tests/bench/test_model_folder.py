"""The SavedModel on disk: whether it can be served, and its example requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving_ctl.api.metadata import PREDICT_METHOD, ServedModel, Signature, TensorInfo
from serving_ctl.bench.model_folder import REQUESTS_FILE, ModelFolder
from serving_ctl.config import ModelSettings
from serving_ctl.errors import ConfigError

TEXT = TensorInfo(name="text", dtype="string", shape=(-1,))
IDS = TensorInfo(name="ids", dtype="int64", shape=(-1, 4))


def signature(*inputs: TensorInfo) -> Signature:
    return Signature(name="serving_default", method=PREDICT_METHOD, inputs=inputs, outputs=())


@pytest.fixture
def base(tmp_path) -> Path:
    """A base folder whose versions 9 and 10 look like SavedModels."""
    for version in ("9", "10"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    return tmp_path


@pytest.fixture
def examples(base):
    """Write version 10's example requests and read them back for a signature."""

    def read(content: bytes, *inputs: TensorInfo):
        path = base / "10" / REQUESTS_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return ModelFolder(ModelSettings(path=str(base))).values(signature(*inputs)).examples

    return read


def test_the_newest_version_is_the_highest_number(base):
    folder = ModelFolder(ModelSettings(path=str(base)))
    assert folder.newest() == base / "10"
    assert folder.problem() is None


def test_a_folder_that_cannot_be_served_says_what_to_do(tmp_path):
    assert "textcnn-export" in ModelFolder(ModelSettings(path=str(tmp_path / "none"))).problem()
    assert "no numeric version folder" in ModelFolder(ModelSettings(path=str(tmp_path))).problem()


def test_only_the_signature_s_inputs_are_taken(examples):
    lines = b'{"text": "good", "input_ids": [1, 2]}\n\n{"text": "bad", "input_ids": [3, 4]}\n'
    assert examples(lines, TEXT) == ({"text": "good"}, {"text": "bad"})


def test_examples_without_an_input_are_left_out(examples):
    lines = b'{"text": "good"}\n{"other": 1}\n{}\n'
    assert examples(lines, TEXT) == ({"text": "good"},)
    assert examples(lines, TEXT, IDS) == ()


def test_a_model_without_the_file_has_no_examples(base):
    assert ModelFolder(ModelSettings(path=str(base))).values(signature(TEXT)).examples == ()


def test_a_sentence_may_hold_any_character(examples):
    """JSON leaves these unescaped, and some readers of text end a line at them."""
    sentence = "one\u2028two\x85three\u2029four"
    assert examples(json.dumps({"text": sentence}, ensure_ascii=False).encode() + b"\n", TEXT) == ({"text": sentence},)


def test_base64_values_stay_what_they_are(examples):
    assert examples(b'{"text": {"b64": "AP9yYXc="}}\n', TEXT) == ({"text": {"b64": "AP9yYXc="}},)


@pytest.mark.parametrize("content", [b"not json\n", b"[1]\n", b'{"text": "\xff"}\n', b'{"text": "cut'])
def test_a_broken_file_is_named(examples, content):
    with pytest.raises(ConfigError, match=r"requests\.jsonl"):
        examples(content, TEXT)


def test_a_file_of_requests_in_the_settings_comes_first(base, examples, tmp_path):
    examples(b'{"text": "the model\'s own"}\n', TEXT)
    own = tmp_path / "mine.jsonl"
    own.write_text('{"text": "mine"}\n', encoding="utf-8")
    folder = ModelFolder(ModelSettings(path=str(base), requests=str(own)))
    assert folder.values(signature(TEXT)).examples == ({"text": "mine"},)
    with pytest.raises(ConfigError, match=r"mine\.jsonl: no line holds every input .*\(ids\)"):
        folder.values(signature(IDS))


def test_whole_numbers_stay_within_the_vocabulary(base):
    assert ModelFolder(ModelSettings(path=str(base))).values(signature(IDS)).integer_bound == 100
    vocabulary = base / "10" / "assets" / "vocabulary.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("good\nbad\nfilm\n", encoding="utf-8")
    assert ModelFolder(ModelSettings(path=str(base))).values(signature(IDS)).integer_bound == 3
    assert ModelFolder(ModelSettings(path=str(base), integer_bound=50)).values(signature(IDS)).integer_bound == 50


def test_the_probe_is_one_instance(base):
    model = ServedModel(name="m", version="10", signatures=(signature(IDS),))
    body = json.loads(ModelFolder(ModelSettings(path=str(base))).probe(model, seed=0))
    assert [len(instance) for instance in body["instances"]] == [4]
