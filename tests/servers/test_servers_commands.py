"""The commands that start, look into and stop servers, each as a process of its own, with the stand-in server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from places import Place, processes_of

from serving_ctl.errors import Exit
from serving_ctl.servers.ports import accepts

ROOT = Path(__file__).parents[2]
SETTINGS = """
[model]
name = "m"
path = "{model}"
[tf-serving]
runtime = "native"
binary = "{binary}"
port = {port}
image = "{image}"
[flask]
port = {flask_port}
{more}
"""


@pytest.fixture
def settings(place: Place) -> Callable[..., Path]:
    """Write the settings file; its path."""

    def write(more: str = "", image: str = "tfserve-tui-test/absent:none") -> Path:
        path = place.state.parent / "own.toml"
        names = {"model": place.model, "binary": place.binary, "port": place.port, "flask_port": place.flask_port}
        path.write_text(SETTINGS.format(**names, image=image, more=more), encoding="utf-8")
        return path

    return write


def words_of(settings: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from tui.__main__ import main; main()", "--config", str(settings), *arguments]


def run(settings: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    words = words_of(settings, *arguments)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_up_status_and_down(place: Place, settings: Callable[..., Path]) -> None:
    up = run(settings(), "up", "tf-serving")
    assert up.returncode == Exit.DONE, up.stderr
    assert up.stdout.startswith(f"tf-serving: ready  native  2.20.0  http://127.0.0.1:{place.port}")
    told = [line.split("  ")[0] for line in up.stderr.splitlines()]
    assert told[0] == "tf-serving: starting"
    assert told[-1] == "tf-serving: ready"
    assert "waiting for REST" in up.stderr
    first = processes_of(place.state)
    status = run(settings(), "status")
    assert " CPU, " in status.stdout.splitlines()[0]
    assert "1 process" in status.stdout.splitlines()[0]
    found = json.loads(run(settings(), "status", "--json").stdout)
    assert found[0]["usage"]["memory_mb"] > 1
    assert found[1]["usage"] is None
    assert run(settings(), "up", "tf-serving", "--restart").returncode == Exit.DONE
    assert [one.pid for one in processes_of(place.state)] != [one.pid for one in first]
    for _ in range(2):
        down = run(settings(), "down", "tf-serving")
        assert (down.returncode, down.stdout) == (Exit.DONE, "tf-serving: stopped\n")
    assert processes_of(place.state) == []


def test_up_that_takes_too_long_leaves_nothing(place: Place, settings: Callable[..., Path]) -> None:
    place.script(never_ready=True)
    up = run(settings(), "up", "tf-serving", "--timeout", "1")
    assert (up.returncode, up.stdout) == (Exit.NOT_STARTED, "")
    assert "tf-serving was not ready within 1 s; last log line: " in up.stderr
    assert processes_of(place.state) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_interrupted_up_leaves_nothing(
    place: Place, settings: Callable[..., Path], number: signal.Signals, code: Exit
) -> None:
    place.script(never_ready=True)
    words = words_of(settings(), "up", "tf-serving")
    up = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert up.stderr
    with up.stderr:
        while "waiting for REST" not in up.stderr.readline():
            assert up.poll() is None
        os.kill(up.pid, number)
        assert "Traceback" not in up.stderr.read()
    assert up.wait(30) == code
    assert processes_of(place.state) == []
    assert not accepts(place.port)
    assert not place.record.exists()


def test_flag_that_the_server_does_not_know_is_a_usage_error(place: Place, settings: Callable[..., Path]) -> None:
    up = run(settings("[tf-serving.flags]\nenable_baching = true"), "up", "tf-serving")
    assert (up.returncode, up.stdout) == (Exit.USAGE, "")
    assert "[tf-serving.flags] the server has no flag 'enable_baching'; did you mean 'enable_batching'?" in up.stderr


def test_docker_line_is_printed_and_nothing_started(place: Place, settings: Callable[..., Path]) -> None:
    done = run(settings("[tf-serving.flags]\nenable_batching = true"), "up", "--print-command")
    assert done.returncode == Exit.DONE, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("docker run -d --init --name tfserve-tui-tf-serving-")
    assert line.endswith("--enable_batching=true")
    assert (place.state / "tf-serving-config" / "models.config").exists()
    assert not place.record.exists()


def test_workers_and_tasks_of_what_does_not_run(place: Place, settings: Callable[..., Path]) -> None:
    for command, missing in (("workers", "No gunicorn is running"), ("tasks", "No Swarm service is running")):
        done = run(settings(), command, "--json")
        assert (done.returncode, done.stdout) == (Exit.NOT_STARTED, "")
        assert missing in done.stderr
    assert run(settings(), "workers", "--add", "1", "--remove", "1").returncode == Exit.USAGE


def test_containers_are_listed_adopted_and_stopped(
    place: Place,
    settings: Callable[..., Path],
    engine: docker.DockerClient,
    image: str,
    containers: Callable[[], list[str]],
) -> None:
    path, name = settings(image=image), f"standin-{place.port}"
    words = ["--model_name=m", "--model_base_path=/"]
    engine.containers.run(image, command=words, name=name, detach=True, ports={"8501/tcp": ("127.0.0.1", place.port)})
    while not accepts(place.port):
        assert containers() == [name]
    listed = run(path, "containers")
    assert listed.returncode == Exit.DONE, listed.stderr
    assert listed.stdout.splitlines()[0].split() == ["name", "image", "status", "url", "started", "by"]
    assert [name, image, "running", f"http://127.0.0.1:{place.port}", "–"] in [
        line.split() for line in listed.stdout.splitlines()
    ]
    adopted = run(path, "containers", "--adopt", name, "--json")
    assert adopted.returncode == Exit.DONE, adopted.stderr
    assert name in [one["name"] for one in json.loads(adopted.stdout)]
    assert "docker, adopted" in run(path, "status").stdout
    assert run(path, "down", "tf-serving").returncode == Exit.DONE
    assert containers() == []
    absent = run(path, "containers", "--stop", name)
    assert (absent.returncode, f"there is no container {name}" in absent.stderr) == (Exit.NOT_STARTED, True)
