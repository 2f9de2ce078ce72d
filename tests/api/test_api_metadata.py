"""Signatures from the metadata documents that a real server sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving_ctl.api.metadata import (
    PREDICT_METHOD,
    ServedModel,
    Signature,
    TensorInfo,
    choose_signature,
    parse_metadata,
)
from serving_ctl.errors import ConfigError, ServerAnswerError

TESTS = Path(__file__).parents[1]
TRANSCRIPTS = json.loads((TESTS / "data" / "rest-transcripts.json").read_text(encoding="utf-8"))


def recorded(model: str) -> ServedModel:
    item = next(item for item in TRANSCRIPTS if item["path"] == f"/v1/models/{model}/metadata")
    return parse_metadata(json.loads(item["response"]["body"]))


def signature(name: str, method: str = PREDICT_METHOD, dtype: str = "float") -> Signature:
    return Signature(name=name, method=method, inputs=(TensorInfo(name="x", dtype=dtype, shape=(-1,)),), outputs=())


def model(*signatures: Signature) -> ServedModel:
    return ServedModel(name="m", version="1", signatures=signatures)


def test_a_keras_export():
    found = parse_metadata(json.loads((TESTS / "data" / "metadata-text_cnn.json").read_text(encoding="utf-8")))
    assert (found.name, found.version) == ("text_cnn", "1")
    assert [s.name for s in found.signatures] == ["serve", "serving_default"]
    chosen = choose_signature(found, "")
    assert chosen.name == "serving_default"
    assert chosen.inputs == (TensorInfo(name="input_ids", dtype="int32", shape=(-1, 64)),)
    assert chosen.outputs == (TensorInfo(name="output_0", dtype="float", shape=(-1, 2)),)


def test_several_inputs_of_several_types():
    chosen = choose_signature(recorded("two_in_two_out"), "")
    assert {t.name: (t.dtype, t.shape) for t in chosen.inputs} == {"a": ("int32", (-1, 2)), "b": ("float", (-1, 1))}


def test_strings():
    chosen = choose_signature(recorded("text"), "")
    assert chosen.inputs == (TensorInfo(name="text", dtype="string", shape=(-1,)),)
    assert {t.name for t in chosen.outputs} == {"length", "upper", "upper_bytes"}


def test_a_fixed_batch_and_a_scalar():
    found = recorded("fixed_batch")
    assert choose_signature(found, "").inputs[0].shape == (2, 3)
    assert choose_signature(found, "scalar").inputs[0].shape == ()


def test_a_default_signature_that_does_not_predict_is_passed_over():
    found = recorded("classic")
    assert choose_signature(found, "").name == "predict"
    with pytest.raises(ConfigError, match=r"'serving_default'.*it has: predict"):
        choose_signature(found, "serving_default")


def test_sixteen_bit_floats_are_refused_before_the_run():
    with pytest.raises(ConfigError, match="16-bit"):
        choose_signature(recorded("half"), "")


def test_initialisers_are_no_signatures():
    document = json.loads((TESTS / "data" / "metadata-text_cnn.json").read_text(encoding="utf-8"))
    assert "__saved_model_init_op" in document["metadata"]["signature_def"]["signature_def"]
    assert not any(s.name.startswith("__") for s in parse_metadata(document).signatures)


def test_an_unknown_rank_is_no_scalar():
    document = json.loads((TESTS / "data" / "metadata-text_cnn.json").read_text(encoding="utf-8"))
    inputs = document["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    inputs["input_ids"]["tensor_shape"] = {"dim": [], "unknown_rank": True}
    assert choose_signature(parse_metadata(document), "").inputs[0].shape is None


def test_without_serving_default_the_first_that_predicts_is_taken():
    assert choose_signature(model(signature("z"), signature("a")), "").name in {"a", "z"}
    chosen = choose_signature(model(signature("c", "tensorflow/serving/classify"), signature("p")), "")
    assert chosen.name == "p"


@pytest.mark.parametrize("wanted", ["", "any"])
def test_a_model_that_cannot_predict_is_refused(wanted):
    with pytest.raises(ConfigError, match=r"m has no predict signature"):
        choose_signature(model(signature("c", "tensorflow/serving/classify")), wanted)


def test_an_unknown_signature_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'txet'.*serving_default, text"):
        choose_signature(model(signature("serving_default"), signature("text")), "txet")


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"model_spec": None},
        {"model_spec": {"name": "m", "version": "1"}},
        {"model_spec": {"name": "m", "version": "1"}, "metadata": {"signature_def": {}}},
        {"model_spec": {"name": "m", "version": "1"}, "metadata": {"signature_def": {"signature_def": {"s": 3}}}},
        {
            "model_spec": {"name": "m", "version": "1"},
            "metadata": {
                "signature_def": {
                    "signature_def": {
                        "s": {
                            "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "many"}]}}},
                            "outputs": {},
                        }
                    }
                }
            },
        },
    ],
)
def test_a_document_of_another_form_is_refused(document):
    with pytest.raises(ServerAnswerError, match="metadata"):
        parse_metadata(document)
