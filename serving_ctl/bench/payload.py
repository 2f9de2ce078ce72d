"""Request bodies for a signature: the examples that came with the model, else values of the right kind (R4).

Where the examples lie is ``model_folder``'s to know.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from serving_ctl.api.metadata import Signature, TensorInfo
from serving_ctl.errors import ConfigError
from serving_ctl.events import Ladder

MAX_BODIES_BYTES = 64_000_000
SENTENCES = (
    "a film that is worth every minute of its running time",
    "the plot never finds its feet and the jokes fall flat",
    "warm, funny and beautifully acted",
    "two hours that feel like four",
)
FLOATS = {"float", "double"}
INTEGER_LIMITS = {f"{sign}int{bits}": 2 ** (bits - (not sign)) for sign in ("u", "") for bits in (8, 16, 32, 64)}
"""One above the largest value of each type."""

Instance = dict[str, Any]
_encode = msgspec.json.encode


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What bodies are made of: ``examples`` (the value of each input by name), or else invented values."""

    examples: tuple[Instance, ...] = ()
    free_dimension: int = 8
    """Size of every free dimension that ``dimensions`` does not name; the batch's own is not among them."""
    dimensions: Mapping[str, tuple[int, ...]] = {}
    """Sizes of the free dimensions of an input, by its name, in order."""
    integer_bound: int = 100
    """Invented whole numbers lie below this: a model's vocabulary, say."""


def free_batch(signature: Signature) -> bool:
    """True when every input has a first dimension of any size."""
    return all(tensor.shape is None or (tensor.shape and tensor.shape[0] == -1) for tensor in signature.inputs)


def fitted_ladder(ladder: Ladder, signature: Signature) -> Ladder:
    """``ladder`` as far as the signature can take it: a fixed first dimension allows just that batch size."""
    if free_batch(signature):
        return ladder
    fixed = fixed_batch(signature)
    if ladder.kind == "batch":
        return msgspec.structs.replace(ladder, sizes=(fixed,))
    return msgspec.structs.replace(ladder, batch=fixed)


def fixed_batch(signature: Signature) -> int:
    """The batch size a signature is bound to; 1 for scalars."""
    sizes = {tensor.shape[0] for tensor in signature.inputs if tensor.shape and tensor.shape[0] != -1}
    return next(iter(sizes)) if len(sizes) == 1 else 1


def build_bodies(
    signature: Signature, values: Values, *, batch: int, count: int, seed: int, form: str = "row"
) -> list[bytes]:
    """Up to ``count`` different JSON bodies of ``batch`` instances, one line each, 64 MB together at most.

    ``form`` is ``row`` (instances) or ``column`` (inputs); a signature with a scalar input can only be sent by column.
    """
    if not signature.inputs:
        raise ConfigError(f"signature {signature.name!r} takes no input; there is nothing to send.")
    chance = random.Random(f"{seed}/{batch}")  # noqa: S311 - reproducible bodies, no secret
    examples = values.examples
    by_column = form == "column" or any(tensor.shape == () for tensor in signature.inputs)
    starts = chance.sample(range(len(examples)), min(count, len(examples))) if examples else range(count)
    bodies: list[bytes] = []
    size = 0
    for start in starts:
        if examples:
            instances = [examples[(start + i) % len(examples)] for i in range(batch)]
        else:
            instances = [{t.name: _value(t, values, chance) for t in signature.inputs} for _ in range(batch)]
        body = _encode(_column(signature, instances) if by_column else _row(signature, instances))
        size += len(body)
        if bodies and size > MAX_BODIES_BYTES:
            break
        bodies.append(body)
    return bodies


def _row(signature: Signature, instances: list[Instance]) -> dict[str, Any]:
    bare = len(signature.inputs) == 1
    name = signature.inputs[0].name
    return {**_head(signature), "instances": [i[name] for i in instances] if bare else instances}


def _column(signature: Signature, instances: list[Instance]) -> dict[str, Any]:
    columns = {
        tensor.name: instances[0][tensor.name] if tensor.shape == () else [i[tensor.name] for i in instances]
        for tensor in signature.inputs
    }
    return {**_head(signature), "inputs": columns}


def _head(signature: Signature) -> dict[str, str]:
    return {} if signature.name == "serving_default" else {"signature_name": signature.name}


def _value(tensor: TensorInfo, values: Values, chance: random.Random) -> Any:
    """One instance of ``tensor``: nested lists without the batch dimension. Raises ConfigError for sizes too few."""
    inner = (tensor.shape or ())[1:]
    given = values.dimensions.get(tensor.name, (values.free_dimension,) * inner.count(-1))
    if len(given) != inner.count(-1):
        raise ConfigError(
            f"[model.dimensions] {tensor.name}: {len(given)} sizes for {inner.count(-1)} free dimensions "
            f"of shape {list(tensor.shape or ())} (the first is the batch)."
        )
    sizes = iter(given)
    return _nested(tensor, [next(sizes) if size == -1 else size for size in inner], values.integer_bound, chance)


def _nested(tensor: TensorInfo, shape: list[int], integer_bound: int, chance: random.Random) -> Any:
    if shape:
        return [_nested(tensor, shape[1:], integer_bound, chance) for _ in range(shape[0])]
    if tensor.dtype in FLOATS:
        return round(chance.uniform(-1, 1), 4)
    if tensor.dtype in INTEGER_LIMITS:
        return chance.randrange(min(integer_bound, INTEGER_LIMITS[tensor.dtype]))
    if tensor.dtype == "bool":
        return chance.random() < 0.5
    if tensor.dtype == "string":
        sentence = chance.choice(SENTENCES)
        return {"b64": base64.b64encode(sentence.encode()).decode()} if tensor.name.endswith("_bytes") else sentence
    raise ConfigError(f"input {tensor.name!r} is of type {tensor.dtype}, which JSON requests cannot carry.")
