"""One request to every server: the difference that is said is the largest, and which server parts from the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving_ctl.bench.trial import try_body


class Says:
    """In place of a client: every question has this answer."""

    def __init__(self, value: float) -> None:
        self._value = value

    async def predict(self, body: bytes, timeout_s: float) -> dict[str, Any]:
        del body, timeout_s
        return {"predictions": [self._value]}


def trial(*values: float) -> Any:
    names = ("tf-serving", "flask", "eu")
    clients: Any = {name: Says(value) for name, value in zip(names, values, strict=False)}
    return asyncio.run(try_body(clients, b"{}", 5.0))


def test_the_difference_is_the_largest_against_the_first() -> None:
    assert trial(0.5, 0.500001, 0.50001).difference == pytest.approx(1e-5)
    assert trial(0.5).difference is None


def test_the_server_that_parts_from_the_first_is_named() -> None:
    told = trial(0.5, 0.5, 0.75)
    assert told.difference is None
    assert told.differs.startswith("tf-serving and eu: answer.predictions[0]: 0.5 and 0.75")
