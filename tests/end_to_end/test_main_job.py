"""The whole job as a user does it: start both servers, measure, export, replay – in a terminal and headless."""

from __future__ import annotations

import json
import re


def test_terminal_ui_starts_measures_exports_and_stops(home, screen) -> None:
    """`s` starts both servers, `0` runs smoke, `e` writes the Markdown, `q` stops what was started."""
    screen.open_live()
    assert "Bench" in screen.text()
    screen.press("s")
    screen.wait_for("embedded (TF-Serving-compatible)", "gunicorn 2 × sync")
    screen.until(lambda: screen.text().count("READY") == 2, "not both ready")
    screen.press("0")
    screen.wait_for("done in", "8 cells")
    screen.press("e")
    screen.wait_for("export the run")
    screen.press("Enter")
    _wait_for_file(home, screen)
    _leave_dialog(screen)
    text = next(home.folder.glob("smoke-*.md")).read_text()
    assert "| 序号 # | batch size | embedded (TF-Serving-compatible) ms | flask gunicorn 2 × sync ms | rate |" in text
    assert len(re.findall(r"^\| [12] \| (1|10) \| [\d.]+ \| [\d.]+ \| [\d.]+ \|", text, re.MULTILINE)) == 6
    screen.press("q")
    screen.wait_for("stop")
    screen.press("Enter")
    screen.wait_for_end()
    assert home.processes() == []


def test_headless_run_and_its_replay_give_the_same_table(home, screen) -> None:
    """`run --events --export`, then `--replay` and `e`: the same Markdown, byte for byte."""
    done = home.run("run", "smoke", "--events", "r.jsonl", "--export", "out.md")
    assert done.returncode == 0, done.stderr
    assert "smoke: inference time" in done.stdout
    assert home.processes() == []
    screen.open("--replay", "r.jsonl", "--speed", "0")
    screen.wait_for("done in", "8 cells")
    screen.press("e")
    screen.wait_for("export the run")
    screen.press("Enter")
    _wait_for_file(home, screen)
    assert next(home.folder.glob("smoke-*.md")).read_bytes() == (home.folder / "out.md").read_bytes()
    _leave_dialog(screen)
    screen.press("q")
    screen.wait_for_end()


def test_commands_from_up_to_down(home) -> None:
    """up, status, metadata, run with kept servers as JSON, load, down."""
    assert home.run("status").returncode == 3
    up = home.run("up")
    assert up.returncode == 0, up.stderr
    status = home.run("status", "--json")
    assert [server["state"] for server in json.loads(status.stdout)] == ["ready", "ready"]
    assert status.returncode == 0
    metadata = home.run("metadata")
    assert "in  input_ids: int32 [-1, 64]" in metadata.stdout
    assert metadata.stdout.count("version 1 AVAILABLE") == 2
    run = home.run("run", "smoke", "--json")
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert [len(table["rows"]) for table in document["tables"]] == [2, 2, 2]
    assert document["run"]["end"]["event"] == "RunFinished"
    ratios = [row["ratio"] for table in document["tables"] for row in table["rows"]]
    assert all(ratio > 0 for ratio in ratios)
    assert home.run("status").returncode == 0, "run stopped servers that it had not started"
    body = home.folder / "body.json"
    body.write_text(json.dumps({"instances": [[1] * 64]}))
    url = f"http://127.0.0.1:{home.ports[0]}/v1/models/text_cnn:predict"
    load = home.run("load", url, "--body", str(body), "-n", "50", "--json")
    assert load.returncode == 0, load.stderr
    assert json.loads(load.stdout)["requests"] == 50
    assert home.run("down").returncode == 0
    assert home.run("down").returncode == 0
    assert home.processes() == []


def _wait_for_file(home, screen) -> None:
    screen.until(lambda: any(home.folder.glob("smoke-*.md")), "no Markdown file")


def _leave_dialog(screen) -> None:
    """The path stays on the screen, to be copied, until it is left."""
    screen.wait_for("✓ written")
    screen.press("Escape")
    screen.until(lambda: "export the run" not in screen.text(), "the dialog is still there")
