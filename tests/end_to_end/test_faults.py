"""What goes wrong on a user's machine: each ends with a clear message, the finished cells kept, nothing orphaned."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_run_keeps_what_finished_and_stops_what_was_started(home, number, code) -> None:
    run = home.start("run", "batch-small", "--events", "r.jsonl", "--export", "cut.md")
    _wait_for_cells(home, 2)
    run.send_signal(number)
    _, talk = run.communicate(timeout=60)
    assert run.returncode == code, talk
    assert "Traceback" not in talk
    assert home.processes() == []
    events = _events(home)
    assert events[-1]["event"] == "RunFailed"
    assert events[-1]["cancelled"] is True
    assert "This run ended early: cancelled" in (home.folder / "cut.md").read_text()


def test_a_server_that_dies_in_a_run_ends_it_with_its_reason(home) -> None:
    run = home.start("run", "batch-small", "--events", "r.jsonl", "--export", "cut.md")
    _wait_for_cells(home, 2)
    home.server("serving_ctl.embedded").kill()
    _, talk = run.communicate(timeout=120)
    assert run.returncode == 4, talk
    assert "tf-serving stopped in the middle of the run" in talk
    assert "Traceback" not in talk
    events = _events(home)
    assert events[-1]["event"] == "RunFailed"
    assert sum(event["event"] == "CellFinished" for event in events) >= 2
    assert home.processes() == []


def test_a_killed_ui_leaves_servers_that_the_next_start_adopts(home, screen) -> None:
    screen.open_live()
    screen.press("s")
    screen.until(lambda: screen.text().count("READY") == 2, "not both ready")
    subprocess.run(["kill", "-9", str(screen.pid())], check=True)
    screen.wait_for_end()
    screen.close()
    assert home.processes() != []
    status = home.run("status", "--json")
    assert status.returncode == 0, status.stdout
    screen.open()
    screen.until(lambda: screen.text().count("READY") == 2, "not adopted")
    screen.press("q")
    screen.wait_for("from an earlier session: tf-serving and flask", "Leave running")
    screen.press("l")
    screen.wait_for_end()
    down = home.run("down")
    assert down.returncode == 0, down.stderr
    assert home.processes() == []


def test_a_taken_port_is_named_with_its_owner(home) -> None:
    with socket.create_server(("127.0.0.1", home.ports[0])):
        done = home.run("up", "tf-serving")
    assert done.returncode == 3
    assert f"port {home.ports[0]} is taken by" in done.stderr
    assert home.processes() == []


@pytest.mark.parametrize(
    ("settings", "command", "code", "complaint"),
    [
        ("[tf-serving]\nimag = 1\n", ["presets"], 2, "unknown key 'imag'; did you mean 'image'?"),
        ("[model]\npath = 'nowhere'\n", ["run", "smoke"], 2, "No model at nowhere: run `textcnn-export`"),
        ("[model\n", ["status"], 2, "not valid TOML"),
        ("", ["run", "smok"], 2, "unknown preset 'smok'; did you mean 'smoke'?"),
        ("", ["run", "smoke", "--export", "x.docx"], 2, "cannot export to '.docx'"),
        ("", ["--config", "absent.toml", "presets"], 2, "absent.toml: no such file"),
        ("", ["--replay", "absent.jsonl"], 2, "terminal"),
        ("", ["load", "http://127.0.0.1:1/", "-c", "0"], 2, "not in the range"),
    ],
)
def test_bad_input_is_named_in_one_or_two_lines(home, settings, command, code, complaint) -> None:
    if settings:
        (home.folder / "configs" / "tfserve.toml").write_text(settings)
    done = home.run(*command)
    assert done.returncode == code, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dumb_terminal_is_refused_with_a_sentence(home) -> None:
    done = subprocess.run(
        ["script", "-qec", f"{sys.executable} -m tui", "/dev/null"],
        cwd=home.folder,
        env={**home.environment, "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stdout


def _events(home) -> list[dict]:
    return [json.loads(line) for line in (home.folder / "r.jsonl").read_bytes().splitlines()]


def _wait_for_cells(home, count: int) -> None:
    path = home.folder / "r.jsonl"
    home.until(
        lambda: path.exists() and path.read_bytes().count(b'"event":"CellFinished"') >= count,
        f"not {count} cells finished",
    )
