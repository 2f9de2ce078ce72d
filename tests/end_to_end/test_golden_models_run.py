"""`run` on every golden model, both servers started as a user starts them: any SavedModel works."""

from __future__ import annotations

import json

import pytest

TINY = """
[tiny]
title = "One batch size, two short rounds"
ladders = [{ kind = "batch", sizes = [3] }]
rounds = 2
min-seconds = 0.1
min-requests = 5
warmup-seconds = 0.1
"""


def choose_model(home, golden, name: str, signature: str) -> None:
    """Settings with this model and one Flask worker, and a preset that takes a second."""
    configs = home.folder / "configs"
    (configs / "presets.toml").write_text(TINY)
    (configs / "tfserve.toml").write_text(
        f'[model]\nname = "{name}"\npath = "{golden / name}"\nsignature = "{signature}"\n'
        f'[tf-serving]\nruntime = "embedded"\nport = {home.ports[0]}\n'
        f"[flask]\nport = {home.ports[1]}\nworkers = 1\n"
    )


@pytest.mark.parametrize(
    ("name", "signature", "batch"),
    [
        ("half_plus_two", "", 3),
        ("two_in_two_out", "", 3),
        ("text", "", 3),
        ("kinds", "", 3),
        ("fixed_batch", "", 2),  # the one size that it takes
        ("fixed_batch", "scalar", 1),
        ("classic", "", 3),  # its serving_default classifies; `predict` is the first to predict with
    ],
)
def test_a_golden_model_is_measured_on_both_servers(home, golden, name, signature, batch) -> None:
    choose_model(home, golden, name, signature)
    done = home.run("run", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    marks = {fact["key"]: fact["mark"] for fact in document["run"]["started"]["facts"]}
    assert marks["predictions"] == marks["model"] == "ok"
    for table in document["tables"]:
        assert [row["cells"][1] for row in table["rows"]] == [str(batch)]
        assert table["rows"][0]["ratio"] > 0
    assert home.processes() == []


def test_half_is_refused_with_the_reason(home, golden) -> None:
    """float16 is no JSON input: neither server could be asked anything."""
    choose_model(home, golden, "half", "")
    done = home.run("run", "tiny")
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last == "signature 'serving_default' takes 16-bit floats (x), which TensorFlow Serving refuses as JSON."
    assert "Traceback" not in done.stderr
    assert home.processes() == []
