"""JSON in and out: RapidJSON's leniencies and errors, the fast and the slow way to a tensor, what orjson cannot say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.embedded import lenient_json
from serving_ctl.embedded.answers import predict_json
from serving_ctl.embedded.json_text import LONGEST, json_text
from serving_ctl.embedded.lenient_json import parse
from serving_ctl.embedded.predict_json import Document, read_tensors
from serving_ctl.embedded.status import StatusError
from serving_ctl.embedded.tensors import NotPlain, _Filler, plain_tensor, tensor_from_json

ERRORS = [
    (b"   ", "The document is empty. at offset: 3"),
    (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
    (b"{1: 2}", "Missing a name for object member. at offset: 1"),
    (b'{"a": 1 "b": 2}', "Missing a comma or } after an object member. at offset: 8"),
    (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
    (b"[01]", "Missing a comma or ] after an array element. at offset: 2"),
    (b"[1,]", "Invalid value. at offset: 3"),
    (b"[tru]", "Invalid value. at offset: 4"),
    (b"[-]", "Invalid value. at offset: 2"),
    (b"[1.]", "Miss fraction part in number. at offset: 3"),
    (b"[1e+]", "Miss exponent in number. at offset: 4"),
    (b"[1e999]", "Number too big to be stored in double. at offset: 1"),
    (b'["a', "Missing a closing quotation mark in string. at offset: 3"),
    (b'["a\nb"]', "Invalid encoding in string. at offset: 3"),
    (b'["\\q"]', "Invalid escape character in string. at offset: 2"),
    (b'["\\u12g4"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
    (b'["\\ud800x"]', "The surrogate pair in string is invalid. at offset: 2"),
    (b'["\\udc00"]', "The surrogate pair in string is invalid. at offset: 2"),
]


@pytest.mark.parametrize(("body", "text"), ERRORS)
def test_errors_and_offsets_of_rapidjson(body: bytes, text: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(body)
    assert caught.value.message == f"JSON Parse error: {text}"


def test_leniencies_of_rapidjson() -> None:
    assert math.isnan(parse(b"[NaN]")[0])
    assert parse(b"[Infinity, -Infinity, Inf, -Inf]") == [math.inf, -math.inf, math.inf, -math.inf]
    assert parse(b'{"inputs": 1, "inputs": 2} and more') == {"inputs": 1}
    assert parse(b'\xef\xbb\xbf["\xff"]') == ["\udcff"]
    assert parse(b'["\\ud83d\\ude00"]x') == ["\N{GRINNING FACE}"]


def test_depth_costs_no_recursion() -> None:
    value = parse(b"[" * 100_000 + b"]" * 100_000)
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 99_999


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_the_exact_reader_agrees_with_the_standard_library(value: Any) -> None:
    body = json.dumps(value).encode()
    expected = json.dumps(json.loads(body), sort_keys=True)
    if "\\ud" not in expected:  # lone surrogates are errors for RapidJSON
        assert json.dumps(lenient_json._Reader(body).read(), sort_keys=True) == expected
        assert json.dumps(parse(body), sort_keys=True) == expected


DTYPES = ["float", "double", "int32", "int16", "int8", "uint8", "int64", "uint32", "uint64", "bool", "string"]
LEAVES = (
    st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.integers(-300, 300)
    | st.floats(allow_nan=False)
    | st.sampled_from([1 << 24, (1 << 24) - 1, (1 << 53) - 1, 1 << 53, 1 << 31, 1 << 63])
    | st.text(max_size=3)
    | st.none()
)


@given(
    st.sampled_from(DTYPES), st.recursive(LEAVES, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8)
)
def test_whole_tensors_are_what_their_leaves_are(dtype: str, value: Any) -> None:
    """The fast way either gives up or gives what the slow way gives."""
    try:
        fast = plain_tensor(value, dtype)
    except NotPlain:
        return
    slow = _Filler(value, dtype).tensor()
    assert fast.dtype == slow.dtype
    assert fast.shape == slow.shape
    assert fast.tolist() == slow.tolist()


@pytest.mark.parametrize("dtype", DTYPES[:9])
def test_numbers_of_every_dtype(dtype: str) -> None:
    assert tensor_from_json([[1, 2], [3, 4]], dtype).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1.5], "int32", "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ([True], "int64", "JSON Value: true Type: True is not of expected type: int64"),
        ([-1], "uint32", "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ([1 << 31], "int32", "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ([None], "float", "JSON Value: null Type: Null is not of expected type: float"),
        ([{"a": 1}], "float", 'JSON Value: {\n    "a": 1\n} Type: Object is not of expected type: float'),
        ([{"a": 1}], "string", 'JSON Value: {\n    "a": 1\n} not formatted correctly for base64 data'),
        ([16777217], "float", "Cannot convert JSON value: 16777217 to float without loss of precision."),
        ([1e39], "float", "Cannot convert JSON value: 1e39 to float without loss of precision."),
        ([[1], [2, 3]], "float", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([1, [2]], "float", "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], "float", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ],
)
def test_errors_of_tensors(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        tensor_from_json(value, dtype)
    assert caught.value.message == message


def test_mixed_rows_name_the_first_that_differs() -> None:
    document = Document({"instances": [[1.0, 2.0], [3.0]]}, "")
    with pytest.raises(
        StatusError, match=r"element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2"
    ):
        read_tensors(document, {"x": "float"})


def test_not_finite_numbers_and_foreign_bytes_in_answers() -> None:
    numbers = np.array([[0.1, np.nan], [np.inf, -np.inf]], np.float32)
    words = np.array([b"null", b"\xff"], object)
    text = predict_json({"n": numbers, "s": words, "s_bytes": words}, row=True)
    assert text.count(b"NaN") == text.count(b"-Infinity") == 1
    rows = json.loads(text.decode("utf-8", "surrogateescape"))["predictions"]
    assert [row["s"] for row in rows] == ["null", "\udcff"]
    assert [row["s_bytes"] for row in rows] == [{"b64": "bnVsbA=="}, {"b64": "/w=="}]
    assert rows[0]["n"][0] == 0.1
    assert math.isnan(rows[0]["n"][1])
    assert rows[1]["n"] == [math.inf, -math.inf]
    assert json.loads(predict_json({"n": numbers[:1, :1]}, row=False)) == {"outputs": [[0.1]]}


def test_outputs_without_a_common_batch_have_no_row_form() -> None:
    outputs = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    with pytest.raises(StatusError, match="Tensor name: b has inconsistent batch size: 3 expecting: 2"):
        predict_json(outputs, row=True)


def test_error_texts_have_an_end() -> None:
    assert len(json_text([1.0] * 1_000_000)) <= LONGEST + 3
    assert json_text({"a": [1, {"b": 1e30}]}) == '{\n    "a": [1, {\n            "b": 1e30\n        }]\n}'
