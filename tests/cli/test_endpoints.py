"""Endpoints on the command line: asked, never stopped; several of them measured, in one table, against the first."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from bench.predicting import PredictingServer

from serving_ctl.cli import main
from serving_ctl.errors import Exit

SETTINGS = """
[model]
name = "m"
path = "nowhere"

[[endpoints]]
name = "eu"
url = "{0}"

[[endpoints]]
name = "us"
url = ["{1}"]

[[endpoints]]
name = "ap"
url = "{2}"

[bench]
targets = ["eu", "us", "ap"]
timeout-s = 10.0
"""
PRESET = """
[brief]
title = "Brief"
ladders = [{ kind = "batch", sizes = [1] }]
rounds = 2
min-seconds = 0.1
min-requests = 5
warmup-seconds = 0.05
"""


@pytest.fixture
def servers() -> Iterator[list[PredictingServer]]:
    running = [PredictingServer() for _ in range(3)]
    yield running
    for server in running:
        server.close()


@pytest.fixture
def run(servers, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"TFSERVE_{name}_DIR", str(tmp_path / name.lower()))
    (tmp_path / "mine.toml").write_text(SETTINGS.format(*(server.url for server in servers)))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "presets.toml").write_text(PRESET)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(["--config", "mine.toml", *arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return command


def test_are_asked_how_they_are_and_never_stopped(run, servers):
    code, out, _ = run("status")
    assert code == Exit.DONE, "all that a run measures are ready"
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert list(lines) == ["tf-serving", "flask", "eu", "us", "ap"]
    assert lines["tf-serving"] == "stopped"
    assert lines["eu"].split() == ["ready", "external", servers[0].url]
    code, out, _ = run("up", "us")
    assert (code, out.split()[:2]) == (Exit.DONE, ["us:", "ready"])
    assert "somebody else runs it" in run("down", "us")[1]
    assert "eu (external): version 3 AVAILABLE" in run("metadata")[1]
    for refused in (("logs", "eu"), ("up", "eo"), ("down", "eo")):
        code, out, err = run(*refused)
        assert (code, out) == (Exit.USAGE, "")
        assert "eu" in err


def test_three_in_one_table_and_every_export(run, tmp_path):
    code, out, err = run("run", "brief", "--export", "a.md", "--export", "a.json", "--export", "a.html")
    assert code == Exit.DONE, err
    heading = next(line for line in out.splitlines() if "batch size" in line)
    assert heading.count("rate") == heading.count("verdict") == 2
    assert all(f"{name} external ms" in heading for name in ("eu", "us", "ap"))
    (table, *_) = json.loads((tmp_path / "a.json").read_text())["tables"]
    (row,) = table["rows"]
    assert [rate["name"] for rate in row["rates"]] == ["us", "ap"]
    assert f"| {' | '.join(row['cells'])} |" in (tmp_path / "a.md").read_text()
    assert "ap external" in (tmp_path / "a.html").read_text()
    assert "eu external / us external / ap external" in run("history")[1]
    code, out, _ = run("compare", "last", "last")
    assert code == Exit.DONE
    assert all(f" {name} " in out for name in ("eu", "us", "ap"))


@pytest.mark.parametrize(
    ("targets", "words"),
    [("eu,flsk", "did you mean 'flask'?"), ("us", "nothing to be compared with"), (",", "two servers or more")],
)
def test_targets_that_cannot_be(run, targets, words):
    for more in ((), ("--dry-run",)):
        code, out, err = run("run", "brief", "--targets", targets, *more)
        assert (code, out) == (Exit.USAGE, "")
        assert words in err


def test_a_dry_run_says_who_is_measured(run):
    assert "us against eu\n4 cells" in run("run", "brief", "--targets", "us,eu", "--dry-run")[1]
    assert json.loads(run("run", "brief", "--dry-run", "--json")[1])["targets"] == ["eu", "us", "ap"]
