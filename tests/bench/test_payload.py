"""Request bodies for every kind of signature (R4)."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.api.metadata import PREDICT_METHOD, Signature, TensorInfo, choose_signature, parse_metadata
from serving_ctl.bench import payload
from serving_ctl.bench.payload import (
    Values,
    build_bodies,
    fitted_ladder,
    fixed_batch,
    free_batch,
)
from serving_ctl.errors import ConfigError
from serving_ctl.events import Ladder

TRANSCRIPTS = json.loads((Path(__file__).parents[1] / "data" / "rest-transcripts.json").read_text(encoding="utf-8"))
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
BATCHES = Ladder(name="b", kind="batch", sizes=(1, 10, 100))
CLIENTS = Ladder(name="c", kind="concurrency", sizes=(1, 10))


def signature(*inputs: tuple[str, str, tuple[int, ...] | None], name: str = "serving_default") -> Signature:
    tensors = tuple(TensorInfo(name=n, dtype=d, shape=s) for n, d, s in inputs)
    return Signature(name=name, method=PREDICT_METHOD, inputs=tensors, outputs=())


def golden(model: str, wanted: str = "") -> Signature:
    item = next(item for item in TRANSCRIPTS if item["path"] == f"/v1/models/{model}/metadata")
    return choose_signature(parse_metadata(json.loads(item["response"]["body"])), wanted)


def bodies(sign: Signature, examples=(), **options) -> list[dict]:
    built = build_bodies(sign, Values(examples=tuple(examples)), **{"batch": 3, "count": 4, "seed": 0, **options})
    assert all(b"\n" not in body for body in built)
    return [json.loads(body) for body in built]


def shape_of(value) -> tuple[int, ...]:
    """Shape of nested lists; every list of one level is equally long."""
    if not isinstance(value, list):
        return ()
    inner = {shape_of(item) for item in value}
    assert len(inner) <= 1
    return (len(value), *(inner.pop() if inner else ()))


def leaves(value):
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@given(
    st.sampled_from(["float", "double", "bool", "string", *INTEGERS]),
    st.lists(st.sampled_from([-1, 1, 2, 5]), max_size=3),
    st.integers(1, 6),
    st.sampled_from(["row", "column"]),
)
def test_every_type_and_shape_in_both_forms(dtype, inner, batch, form):
    sign = signature(("x", dtype, (-1, *inner)))
    wanted = (batch, *(8 if size == -1 else size for size in inner))
    kind = {"float": float, "double": float, "bool": bool, "string": str}.get(dtype, int)
    for body in bodies(sign, batch=batch, form=form):
        value = body["instances"] if form == "row" else body["inputs"]["x"]
        assert shape_of(value) == wanted
        assert {type(leaf) for leaf in leaves(value)} == {kind}


@pytest.mark.parametrize("dtype", INTEGERS)
def test_whole_numbers_fit_their_type(dtype):
    sign = signature(("x", dtype, (-1, 50)))
    assert all(0 <= leaf < 128 for body in bodies(sign) for leaf in leaves(body["instances"]))


@pytest.mark.parametrize("dtype", ["complex64", "variant", "resource", "qint8", "invalid"])
def test_a_type_that_json_cannot_carry_is_named(dtype):
    with pytest.raises(ConfigError, match=rf"'x'.*{dtype}"):
        bodies(signature(("x", dtype, (-1,))))


def test_several_inputs_are_named_in_each_row():
    for body in bodies(golden("two_in_two_out")):
        assert shape_of(body["instances"]) == (3,)
        for instance in body["instances"]:
            assert {name: shape_of(value) for name, value in instance.items()} == {"a": (2,), "b": (1,)}


def test_several_inputs_by_column():
    for body in bodies(golden("two_in_two_out"), form="column"):
        assert {name: shape_of(value) for name, value in body["inputs"].items()} == {"a": (3, 2), "b": (3, 1)}


def test_bytes_are_sent_as_base64():
    for body in bodies(signature(("image_bytes", "string", (-1,)))):
        for value in body["instances"]:
            assert set(value) == {"b64"}
            assert base64.b64decode(value["b64"], validate=True)


def test_a_named_signature_is_named_in_the_body_and_the_default_is_not():
    assert all("signature_name" not in body for body in bodies(signature(("x", "float", (-1,)))))
    for form in ("row", "column"):
        named = bodies(signature(("x", "float", (-1,)), name="text"), form=form)
        assert all(body["signature_name"] == "text" for body in named)


def test_a_fixed_batch_is_what_a_ladder_is_fitted_to():
    sign = golden("fixed_batch")
    assert not free_batch(sign)
    assert fixed_batch(sign) == 2
    assert fitted_ladder(BATCHES, sign).sizes == (2,)
    assert fitted_ladder(CLIENTS, sign) == Ladder(name="c", kind="concurrency", sizes=(1, 10), batch=2)
    assert shape_of(bodies(sign, batch=2)[0]["instances"]) == (2, 3)


def test_a_scalar_is_sent_by_column_whatever_was_asked():
    sign = golden("fixed_batch", "scalar")
    assert fitted_ladder(BATCHES, sign).sizes == (1,)
    for body in bodies(sign, batch=fixed_batch(sign)):
        assert set(body) == {"signature_name", "inputs"}
        assert isinstance(body["inputs"]["s"], float)


def test_a_scalar_beside_a_batch():
    sign = signature(("x", "float", (-1, 2)), ("threshold", "float", ()))
    inputs = bodies(sign, batch=1)[0]["inputs"]
    assert (shape_of(inputs["x"]), shape_of(inputs["threshold"])) == ((1, 2), ())


def test_a_free_batch_leaves_the_ladder_alone():
    for sign in (golden("text"), golden("two_in_two_out"), signature(("x", "float", None))):
        assert free_batch(sign)
        assert fitted_ladder(BATCHES, sign) is BATCHES
        assert fitted_ladder(CLIENTS, sign) is CLIENTS
        assert fixed_batch(sign) == 1


def test_an_unknown_rank_takes_a_vector_of_instances():
    assert shape_of(bodies(signature(("x", "float", None)))[0]["instances"]) == (3,)


def test_a_signature_without_inputs_is_refused_in_words():
    with pytest.raises(ConfigError, match="input"):
        bodies(signature())


def test_the_same_seed_gives_the_same_bodies_and_another_seed_others():
    sign = golden("two_in_two_out")
    assert bodies(sign) == bodies(sign)
    assert bodies(sign) != bodies(sign, seed=1)


def test_bodies_are_different_ones():
    found = [json.dumps(body) for body in bodies(signature(("x", "float", (-1, 4))), count=32, batch=1)]
    assert len(set(found)) == 32


def test_bodies_of_examples_are_different_ones():
    examples = [{"text": f"sentence {i}"} for i in range(1000)]
    for batch in (1, 10):
        found = [json.dumps(body) for body in bodies(golden("text"), examples, count=32, batch=batch)]
        assert len(set(found)) == 32


@pytest.mark.parametrize("count", [1, 5])
def test_as_many_bodies_as_asked_for(count):
    assert len(bodies(signature(("x", "float", (-1, 4))), count=count)) == count


def test_examples_fill_the_batch_in_order_and_begin_again():
    examples = [{"text": word} for word in "abc"]
    for body in bodies(golden("text"), examples, batch=7):
        joined = "".join(body["instances"])
        assert len(joined) == 7
        assert joined in "abcabcabcabc"


def test_all_bodies_together_stay_below_the_limit(monkeypatch):
    monkeypatch.setattr(payload, "MAX_BODIES_BYTES", 20_000)
    built = build_bodies(signature(("x", "float", (-1, 100))), Values(), batch=5, count=32, seed=0)
    assert 1 < len(built) < 32
    assert sum(map(len, built)) <= 20_000


def test_bodies_of_uneven_examples_stay_below_the_limit(monkeypatch):
    monkeypatch.setattr(payload, "MAX_BODIES_BYTES", 20_000)
    examples = [{"text": "x" * (30 if i % 2 else 9000)} for i in range(100)]
    for seed in range(8):
        built = build_bodies(golden("text"), Values(examples=tuple(examples)), batch=1, count=32, seed=seed)
        assert sum(map(len, built)) <= 20_000


def test_one_body_is_always_built(monkeypatch):
    monkeypatch.setattr(payload, "MAX_BODIES_BYTES", 10)
    assert len(build_bodies(signature(("x", "float", (-1, 100))), Values(), batch=5, count=32, seed=0)) == 1


def test_free_dimensions_and_whole_numbers_follow_the_settings():
    sign = signature(("ids", "int64", (-1, -1, 4, -1)), ("x", "float", (-1, -1)))
    values = Values(free_dimension=3, dimensions={"ids": (2, 5)}, integer_bound=7)
    seen = set()
    for body in map(json.loads, build_bodies(sign, values, batch=2, count=8, seed=0)):
        for instance in body["instances"]:
            assert shape_of(instance["ids"]) == (2, 4, 5)
            assert shape_of(instance["x"]) == (3,)
            seen.update(leaves(instance["ids"]))
    assert seen == set(range(7))


def test_sizes_that_do_not_fit_the_signature_are_refused():
    sign = signature(("ids", "int64", (-1, -1)))
    with pytest.raises(ConfigError, match=r"\[model.dimensions\] ids: 2 sizes for 1 free dimensions"):
        build_bodies(sign, Values(dimensions={"ids": (2, 5)}), batch=1, count=1, seed=0)
