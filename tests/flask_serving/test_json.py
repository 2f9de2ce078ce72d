"""JSON to arrays and back, for every dtype, without TensorFlow: a signature here hands its inputs through."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_serving.decode import decode_predict, parse_object
from flask_serving.encode import encode_predict
from flask_serving.model import Signature, TensorSpec
from flask_serving.refusal import InvalidRequest

DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
    "string": np.object_,
}


def signatures(shape=None, **dtypes):
    inputs = {name: TensorSpec(kind, np.dtype(DTYPES.get(kind, np.float16)), shape) for name, kind in dtypes.items()}
    return {
        "serving_default": Signature(
            "serving_default",
            "tensorflow/serving/predict",
            inputs,
            lambda arrays: dict(zip(inputs, arrays, strict=True)),
        )
    }


def decode(document, **keywords):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode_predict(body, signatures(**keywords))


def echo(document, **keywords):
    call = decode(document, **keywords)
    return parse_object(encode_predict(call.signature.run(call.arrays), by_row=call.by_row))


def refusal(document, **keywords):
    with pytest.raises(InvalidRequest) as caught:
        decode(document, **keywords)
    return str(caught.value)


EDGES = [
    ("float", [0.1, -3.4e38, 16777215]),
    ("double", [0.1, 1e308, 9007199254740991]),
    ("int8", [-128, 127]),
    ("int16", [-32768, 32767]),
    ("int32", [-(2**31), 2**31 - 1]),
    ("int64", [-(2**63), 2**63 - 1]),
    ("uint8", [0, 255]),
    ("uint32", [0, 2**32 - 1]),
    ("uint64", [0, 2**64 - 1]),
    ("bool", [True, False]),
    ("string", ["", "wörld", "a\u0000b"]),
]


@pytest.mark.parametrize(("kind", "values"), EDGES)
def test_every_dtype_goes_both_ways_in_rows_and_columns(kind, values):
    assert echo({"instances": values}, x=kind) == {"predictions": values}
    assert echo({"inputs": [values]}, x=kind) == {"outputs": [values]}
    assert echo({"inputs": {"x": values[0]}}, x=kind) == {"outputs": values[0]}
    assert decode({"inputs": values}, x=kind).arrays[0].dtype == DTYPES[kind]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("int32", 2**31, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("int32", 1.0, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("int32", True, "JSON Value: true Type: True is not of expected type: int32"),
        ("int32", "1", 'JSON Value: "1" Type: String is not of expected type: int32'),
        ("uint32", -1, "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ("uint64", -1, "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ("float", None, "JSON Value: null Type: Null is not of expected type: float"),
        ("float", True, "JSON Value: true Type: True is not of expected type: float"),
        ("float", 1e39, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ("float", 2**24, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ("double", 2**53, "Cannot convert JSON value: 9007199254740992 to double without loss of precision."),
        ("bool", 0, "JSON Value: 0 Type: Number is not of expected type: bool"),
        ("string", 5, "JSON Value: 5 Type: Number is not of expected type: string"),
        ("string", {"b64": 5}, 'JSON Value: {\n    "b64": 5\n} not formatted correctly for base64 data'),
        ("half", 0.5, "Conversion of JSON Value: 0.5 to type: half"),
    ],
)
def test_wrong_values_are_named(kind, value, text):
    assert refusal({"inputs": {"x": [value]}}, x=kind) == text
    assert refusal({"inputs": {"x": [[value]]}}, x=kind) == text


def test_a_lone_surrogate_is_no_text():
    assert "surrogate" in refusal(b'{"inputs": ["\\ud800"]}', x="string")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1, 2], [3]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([["ab"], "cd"], 'JSON Value: "ab" Type: String is not of expected type: int32'),
    ],
)
def test_ragged_lists_are_located(value, text):
    assert refusal({"inputs": value}, x="int32") == text


def test_rows_are_checked_against_each_other():
    prefix = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
    assert refusal({"instances": [[1, 2], [3]]}, x="int32") == prefix + "Expecting tensor size: 2 but got: 1"
    assert refusal({"instances": [[[1, 2]], [[3], [4]]]}, x="int32") == prefix + "Expecting shape [1,2] but got: [2,1]"
    assert refusal({"instances": [{"x": 1}, 2]}, x="int32") == "Expecting object but got list at item 1 of input list"
    assert (
        refusal({"instances": [1, {"x": 2}]}, x="int32")
        == "Expecting value/list but got object at item 1 of input list"
    )


def test_missing_and_unnamed_columns_are_named():
    assert refusal({"inputs": {"a": [1]}}, a="int32", b="int32") == "Missing named input: b in 'inputs' object."
    assert refusal({"inputs": [1]}, a="int32", b="int32").startswith("inputs is a plain value/list")


@pytest.mark.parametrize("body", [b"[1]", b"5", b'{"instances": 5}', b'{"signature_name": 5, "instances": [1]}'])
def test_documents_of_another_form_are_refused(body):
    assert refusal(body, x="int32").startswith("JSON Value: ")


def test_a_bottomless_document_is_refused():
    assert "nested too deeply" in refusal(b'{"inputs": ' + b"[" * 100_000, x="int32")
    assert refusal(b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}", x="int32")


def test_long_values_are_cut_in_the_text():
    assert len(refusal({"instances": [1] * 5000, "inputs": 1}, x="int32")) < 1000


def test_shapes_are_held_against_the_signature():
    assert decode({"instances": [[1, 2, 3]]}, x="int32", shape=(None, 3)).arrays[0].shape == (1, 3)
    text = refusal({"instances": [[1, 2]]}, x="int32", shape=(None, 3))
    assert text == 'Input "x" has shape [1,2], but signature "serving_default" takes [any,3]'


def test_numbers_beyond_json_go_both_ways():
    body = b'{"instances": [NaN, Infinity, -Infinity, 0.1]}'
    answer = echo(body, x="float")["predictions"]
    assert math.isnan(answer[0])
    assert answer[1:] == [math.inf, -math.inf, 0.1]


def test_float32_is_written_short_in_every_form():
    values = np.array([0.1, np.nan], np.float32)
    assert encode_predict({"y": values[:1]}, by_row=True) == b'{"predictions":[0.1]}'
    assert encode_predict({"y": values, "z": values}, by_row=True) == (
        b'{"predictions":[{"y":0.1,"z":0.1},{"y":NaN,"z":NaN}]}'
    )


def test_bytes_outputs_are_base64_and_text_keeps_its_bytes():
    values = np.array([b"\xff\x00", b"ab"], object)
    assert encode_predict({"y_bytes": values}, by_row=True) == b'{"predictions":[{"b64":"/wA="},{"b64":"YWI="}]}'
    assert encode_predict({"y": values}, by_row=True) == b'{"predictions":["\xff\\u0000","ab"]}'


def test_answers_without_rows_are_refused():
    one, two, scalar = np.zeros(1), np.zeros(2), np.array(1.0)
    with pytest.raises(InvalidRequest, match="inconsistent batch size: 2 expecting: 1"):
        encode_predict({"a": one, "b": two}, by_row=True)
    with pytest.raises(InvalidRequest, match="no shape information"):
        encode_predict({"a": scalar}, by_row=True)
    with pytest.raises(InvalidRequest, match="tensor type: complex64"):
        encode_predict({"a": np.zeros(1, np.complex64)}, by_row=False)


def test_empty_tensors_keep_their_shape():
    assert echo({"inputs": []}, x="int32") == {"outputs": []}
    assert echo({"instances": [[], []]}, x="string") == {"predictions": [[], []]}


@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1), st.booleans())
def test_any_float32_survives_the_round_trip(rows, named):
    call = decode({"instances": [{"x": row} for row in rows] if named else rows}, x="float")
    answer = parse_object(encode_predict({"y": call.arrays[0]}, by_row=True))["predictions"]
    np.testing.assert_array_equal(np.array(answer, np.float32), np.array(rows, np.float32))


@given(st.lists(st.binary(), min_size=1))
def test_any_bytes_survive_the_round_trip(items):
    call = decode({"instances": [{"b64": base64.b64encode(item).decode()} for item in items]}, x="string")
    assert call.arrays[0].tolist() == items
    again = parse_object(encode_predict({"y": call.arrays[0]}, by_row=True))["predictions"]
    assert [text.encode("utf-8", "surrogateescape") for text in again] == items


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_whatever_comes_is_an_array_or_a_refusal(value):
    for kind in ("float", "int32", "string", "bool"):
        for key in ("instances", "inputs"):
            assert outcome({key: value}, kind) in ({"refused"}, {DTYPES[kind]})


def outcome(document, kind):
    try:
        return {array.dtype.type for array in decode(document, x=kind).arrays}
    except InvalidRequest:
        return {"refused"}
