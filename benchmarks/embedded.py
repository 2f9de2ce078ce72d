"""The embedded server against gunicorn + flask_serving, 4 sync workers: latency, throughput, memory, 10,000 clients.

Both serve TFSERVE_MODEL_DIR (else release/text_cnn) with the same TF_ENABLE_ONEDNN_OPTS, and take turns, AB BA, in
rounds (rule R16). Driven by wrk, if it is installed, and by our own load engine. Each line says the figures of both
sides, the ratio embedded ÷ flask and whether it meets its aim; exit 1 if one does not.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from serving_ctl.load.pool import run_load
from serving_ctl.load.work import LoadSpec, StopRule
from serving_ctl.stats.latency import quantile_us

ROOT = Path(__file__).resolve().parents[1]
FLASK_WORKERS = 4
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
MANY, AT_ONCE = 10_000, 100
MEMORY_AIM_MB = 700
LOAD_BEFORE = os.getloadavg()[0]


@dataclass(frozen=True)
class Server:
    """A running server: the URL that predicts, and its first process."""

    name: str
    url: str
    process: psutil.Process

    def memory_mb(self) -> float:
        """Resident memory of all its processes, shared pages counted once (PSS)."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in processes) / 1e6


@dataclass(frozen=True)
class Cell:
    """What is measured: clients, rows a request, which figure, and the aim for embedded ÷ flask."""

    title: str
    clients: int
    rows: int
    latency: bool
    aim: float

    def met(self, ratio: float) -> bool:
        """Whether ``ratio`` reaches the aim."""
        return ratio <= self.aim if self.latency else ratio >= self.aim


CELLS = [
    Cell("p50, batch 1, one client", 1, 1, latency=True, aim=0.50),
    Cell("requests/s, batch 1, 10 clients", 10, 1, latency=False, aim=2.4),
    Cell("p50, batch 1000, one client", 1, 1000, latency=True, aim=0.75),
]


@contextmanager
def started(name: str, command: list[str], said: str, path: str, log: Path) -> Iterator[Server]:
    """A server process, from the line that names its port (group 1 of ``said``) until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        while not (found := re.search(said, log.read_text(errors="replace"))):
            if process.poll() is not None:
                sys.exit(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        server = Server(name, f"http://127.0.0.1:{found[1]}{path}", psutil.Process(process.pid))
        wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        process.wait(60)


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(server.url.removesuffix(":predict"), timeout=120).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    sys.exit(f"{server.name} does not answer")


def body_of(server: Server, rows: int) -> bytes:
    """A predict body for the default signature, which must have one input, from the model's metadata."""
    metadata = httpx.get(server.url.removesuffix(":predict") + "/metadata", timeout=60).json()["metadata"]
    (tensor,) = metadata["signature_def"]["signature_def"]["serving_default"]["inputs"].values()
    width = math.prod(max(1, int(dim["size"])) for dim in tensor["tensor_shape"]["dim"][1:])
    values = ["a good film"] if tensor["dtype"] == "DT_STRING" else [number * 37 % 100 for number in range(width)]
    row = values if len(tensor["tensor_shape"]["dim"]) > 1 else values[0]
    return json.dumps({"instances": [row] * rows}).encode()


def by_wrk(server: Server, cell: Cell, body: Path) -> float:
    """p50 in ms, or requests/s, as wrk sees it."""
    script = body.with_suffix(".lua")
    settings = 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
    script.write_text(f"{settings}wrk.body = [==[{body.read_text()}]==]\n")
    command = ["wrk", "-t1", f"-c{cell.clients}", f"-d{SECONDS:g}s", "--timeout", "60s", "--latency", "-s", str(script)]
    output = subprocess.run([*command, server.url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output:
        sys.exit(f"{server.name} refused:\n{output}")
    if not cell.latency:
        return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", output).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def by_engine(server: Server, cell: Cell, body: Path) -> float:
    """p50 in ms, or requests/s, as our own load engine sees it."""
    spec = LoadSpec(
        url=server.url,
        headers=(("Content-Type", "application/json"),),
        bodies_file=str(body),
        clients=cell.clients,
        stop=StopRule(requests=0, seconds=SECONDS),
    )
    result = asyncio.run(run_load(spec))
    if result.errors:
        sys.exit(f"{server.name}: {result.errors}")
    return quantile_us(result.request, 0.5) / 1e3 if cell.latency else result.throughput_rps


def compare(
    servers: tuple[Server, Server], cell: Cell, drive: Callable[[Server, Cell, Path], float], body: Path
) -> tuple[list[float], list[float]]:
    """Each round's figure of the embedded server and of flask, taken in turns after one round of warm-up."""
    figures: dict[str, list[float]] = {server.name: [] for server in servers}
    for number in range(ROUNDS + 1):
        for server in servers if number % 2 == 0 else reversed(servers):
            figures[server.name].append(drive(server, cell, body))
    ours, theirs = (figures[server.name][1:] for server in servers)
    return ours, theirs


async def many_clients(server: Server, body: bytes) -> tuple[int, float]:
    """How many of 10,000 connections, opened 100 at a time and all held open, are answered 200; and the seconds."""
    host, port = httpx.URL(server.url).host, httpx.URL(server.url).port
    path = httpx.URL(server.url).path
    request = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    gate, opened = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    count = 0

    async def client() -> bool:
        nonlocal count
        async with gate:
            reader, writer = await asyncio.open_connection(host, port)
        count += 1
        if count == MANY:
            opened.set()
        await opened.wait()
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return answer.startswith(b"HTTP/1.1 200")

    began = time.perf_counter()
    async with asyncio.timeout(300):
        answered = await asyncio.gather(*(client() for _ in range(MANY)), return_exceptions=True)
    return sum(one is True for one in answered), time.perf_counter() - began


def report(title: str, driver: str, ours: list[float], theirs: list[float], cell: Cell) -> bool:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.geometric_mean(ratios)
    unit = "ms" if cell.latency else "/s"
    sign = "≤" if cell.latency else "≥"
    figures = f"{statistics.median(ours):>9.2f} {statistics.median(theirs):>9.2f} {unit}"
    verdict = "met" if cell.met(ratio) else "NOT met"
    print(
        f"{title:<34} {driver:<7} {figures}   {ratio:5.2f}  ({min(ratios):.2f} – {max(ratios):.2f})"
        f"  aim {sign} {cell.aim:g}: {verdict}",
        flush=True,
    )
    return cell.met(ratio)


def main() -> int:
    model = (ROOT / os.environ.get("TFSERVE_MODEL_DIR", "release/text_cnn")).resolve()
    if not model.is_dir():
        sys.exit(f"no model in {model}: run `.venv/bin/textcnn-export --out release` or set TFSERVE_MODEL_DIR")
    os.environ |= {"TFSERVE_MODEL_DIR": str(model), "TFSERVE_MODEL_NAME": "model"}
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    embedded = ["serving_ctl.embedded", "--rest_api_port=0", "--model_name=model", f"--model_base_path={model}"]
    flask = ["gunicorn", "-w", str(FLASK_WORKERS), "-b", "127.0.0.1:0", "--timeout", "600", "--no-control-socket"]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)

        def start(title: str, command: list[str], said: str) -> Server:
            command = [sys.executable, "-m", *command]
            return stack.enter_context(
                started(title, command, said, "/v1/models/model:predict", folder / f"{title}.log")
            )

        ours = start("embedded", embedded, r"REST API at:localhost:(\d+)[^§]*Entering the event loop")
        theirs = start("flask", [*flask, "flask_serving:app"], r"Listening at: http://127\.0\.0\.1:(\d+)")
        return measure((ours, theirs), folder)


def measure(servers: tuple[Server, Server], folder: Path) -> int:
    drivers = {"wrk": by_wrk} if shutil.which("wrk") else {}
    drivers["engine"] = by_engine
    print(
        f"embedded against gunicorn + flask_serving ({FLASK_WORKERS} sync workers), {os.cpu_count()} cores,"
        f" TF_ENABLE_ONEDNN_OPTS={os.environ['TF_ENABLE_ONEDNN_OPTS']}, {ROUNDS} rounds of {SECONDS:g} s,"
        f" load average before {LOAD_BEFORE:.2f}"
    )
    print(f"{'':<34} {'by':<7} {'embedded':>9} {'flask':>9}      ratio")
    verdicts = []
    for cell in CELLS:
        body = folder / f"body{cell.rows}"
        body.write_bytes(body_of(servers[0], cell.rows))
        for driver, drive in drivers.items():
            verdicts.append(report(cell.title, driver, *compare(servers, cell, drive, body), cell))
    memory = [server.memory_mb() for server in servers]
    verdicts.append(memory[0] <= MEMORY_AIM_MB)
    print(f"memory (PSS) {memory[0]:.0f} MB, flask {memory[1]:.0f} MB; aim ≤ {MEMORY_AIM_MB} MB")
    answered, seconds = asyncio.run(many_clients(servers[0], (folder / "body1").read_bytes()))
    verdicts.append(answered == MANY)
    print(f"{MANY} simultaneous clients: {answered} answered in {seconds:.1f} s; aim: all")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.exit(main())
