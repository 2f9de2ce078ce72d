"""Whether all servers predict as the first does, before any ratio is said (rule R22)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from serving_ctl.api.rest import ModelClient
from serving_ctl.errors import ServerAnswerError

RELATIVE = 1e-4
ABSOLUTE = 1e-5
SNIPPET = 60


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome: ``difference`` is the largest absolute difference of two floats; ``problem`` is empty when equal."""

    bodies: int
    difference: float = 0.0
    problem: str = ""


async def check_parity(clients: Mapping[str, ModelClient], bodies: Sequence[bytes], timeout_s: float) -> Parity:
    """Send each body to every server and compare its answer with the first one's.

    Raises ServerAnswerError when one does not predict.
    """
    largest = 0.0
    for body in bodies:
        answers = {
            name: _prediction(await client.predict(body, timeout_s=timeout_s), client.predict_url)
            for name, client in clients.items()
        }
        first, *others = answers
        for other in others:
            try:
                largest = max(largest, compare_values(answers[first], answers[other]))
            except DifferenceError as difference:
                who = f"{first} and {other}: " if len(others) > 1 else ""
                return Parity(bodies=len(bodies), difference=largest, problem=f"{who}{difference}")
    return Parity(bodies=len(bodies), difference=largest)


class DifferenceError(Exception):
    """Two predictions are not the same; the text says where and how."""


def compare_values(first: Any, second: Any, where: str = "prediction") -> float:
    """Largest absolute difference of the floats in two JSON values.

    Raises DifferenceError when shapes, strings, integers or booleans differ, or floats beyond rtol 1e-4, atol 1e-5.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            raise DifferenceError(f"{where}: outputs {sorted(first)} and {sorted(second)}")
        return max((compare_values(first[key], second[key], f"{where}.{key}") for key in first), default=0.0)
    if isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            raise DifferenceError(f"{where}: {len(first)} and {len(second)} values")
        pairs = enumerate(zip(first, second, strict=True))
        return max((compare_values(a, b, f"{where}[{i}]") for i, (a, b) in pairs), default=0.0)
    return _compare_scalars(first, second, where)


def _compare_scalars(first: Any, second: Any, where: str) -> float:
    # A whole float may be printed as 1 by one server and as 1.0 by the other.
    if _is_number(first) and _is_number(second) and (isinstance(first, float) or isinstance(second, float)):
        a, b = float(first), float(second)
        if (math.isnan(a) and math.isnan(b)) or a == b:
            return 0.0
        if not (math.isfinite(a) and math.isfinite(b)) or abs(a - b) > ABSOLUTE + RELATIVE * abs(b):
            raise DifferenceError(f"{where}: {a:.7g} and {b:.7g}")
        return abs(a - b)
    if type(first) is not type(second) or first != second:
        raise DifferenceError(f"{where}: {_snippet(first)} and {_snippet(second)}")
    return 0.0


def _snippet(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SNIPPET else f"{text[: SNIPPET - 1]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _prediction(answer: dict[str, Any], url: str) -> Any:
    for key in ("predictions", "outputs"):
        if key in answer:
            return answer[key]
    raise ServerAnswerError(f"{url}: an answer without predictions or outputs; it has {sorted(answer)}.")
