"""Start, ready and stop of a container by us against the same by hand, in turn (aim: ratio <= 1.10).

By hand is the ``docker run`` line that we show (``up --print-command``), a poll of REST every 20 ms until the model is
AVAILABLE, and ``docker kill``; ours also predicts once before it says ready, keeps the log and removes the container.
The image is the stand-in of the tests, which is removed at the end. Needs a Docker engine and a machine that is idle.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

ROUNDS = 10
AIM = 1.10
POLL_S = 0.02
LIMIT_S = 30.0
BODY = b'{"instances": [1.0]}'


def main() -> None:
    import docker
    import docker.errors
    import standin_image

    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        print(f"no Docker engine, nothing measured: {error}")
        return
    image = standin_image.build(client)
    try:
        with workplace() as (folder, port):
            asyncio.run(compare(folder, port, image))
    finally:
        standin_image.remove(client)
        client.close()


@contextmanager
def workplace() -> Iterator[tuple[Path, int]]:
    """A model folder, a state folder of our own and a free port."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as taken:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "model" / "1").mkdir(parents=True)
        (folder / "model" / "1" / "saved_model.pb").touch()
        (folder / "state").mkdir()
        os.environ["TFSERVE_STATE_DIR"] = str(folder / "state")
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        taken.close()
        yield folder, port


async def compare(folder: Path, port: int, image: str) -> None:
    """Both ways in turn, AB BA; prints each half of the cycle and the ratio of the whole."""
    from serving_ctl.config import ModelSettings, Settings, TfServingSettings
    from serving_ctl.servers.fleet import Fleet

    settings = Settings(
        model=ModelSettings(name="m", path=str(folder / "model")),
        tf_serving=TfServingSettings(runtime="docker", image=image, port=port),
    )
    fleet = Fleet(settings, lambda event: None)
    command = shlex.split(fleet.docker_command())
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "by hand": []}
    for number in range(ROUNDS + 1):
        for way in sorted(times, reverse=number % 2 == 1):
            measured = await ours(fleet) if way == "ours" else await asyncio.to_thread(by_hand, command, port)
            if number:  # the first round only warms up: the image's version is asked, libraries are loaded
                times[way].append(measured)
    await fleet.close()
    report(times)


async def ours(fleet: object) -> tuple[float, float]:
    """Seconds until ready, and until it is stopped."""
    from serving_ctl.servers.fleet import Fleet

    assert isinstance(fleet, Fleet)
    began = time.perf_counter()
    await fleet.start("tf-serving", probe=lambda model: BODY)
    ready = time.perf_counter()
    await fleet.stop("tf-serving")
    return ready - began, time.perf_counter() - ready


def by_hand(command: list[str], port: int) -> tuple[float, float]:
    """The same with Docker's own command; the container is removed after the clock has stopped."""
    began = time.perf_counter()
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    while not available(port):
        if time.perf_counter() - began > LIMIT_S:
            raise SystemExit("the container by hand was not ready in time")
        time.sleep(POLL_S)
    ready = time.perf_counter()
    subprocess.run(["docker", "kill", name], check=True, capture_output=True)
    stopped = time.perf_counter()
    subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
    return ready - began, stopped - ready


def available(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models/m")
        versions = json.load(connection.getresponse())["model_version_status"]
        return any(version["state"] == "AVAILABLE" for version in versions)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def report(times: dict[str, list[tuple[float, float]]]) -> None:
    print(f"{'median of ' + str(ROUNDS):<16}{'ready':>10}{'stop':>10}{'cycle':>10}")
    for way, pairs in times.items():
        halves = [statistics.median(column) for column in zip(*pairs, strict=True)]
        whole = statistics.median(map(sum, pairs))
        print(f"{way:<16}" + "".join(f"{1000 * value:>7.0f} ms" for value in (*halves, whole)))
    ratios = [sum(a) / sum(b) for a, b in zip(times["ours"], times["by hand"], strict=True)]
    ratio = statistics.median(ratios)
    word = "within" if ratio <= AIM else "ABOVE"
    print(f"ours / by hand: {ratio:.2f} (rounds {min(ratios):.2f} … {max(ratios):.2f}), {word} the aim of {AIM:.2f}")


if __name__ == "__main__":
    main()
