"""The load engine beside wrk, ab and hey, against nginx; its accuracy, its open loop, 10,000 clients (`make bench`).

Nobody can measure more precisely than the noise of the machine: every comparison is made in the same run, tools in
turn, and the medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rig.delay_server import DELAYS, delay_server
from rig.nginx import ANSWER, PREDICT, nginx
from rig.terminal import terminal
from rig.tools import TOOLS, Measured, ours, write_body

CLIENTS = (1, 10, 100)
RUN_LIMIT_S = 120.0
METADATA = {
    "model_spec": {"name": "m", "signature_name": "", "version": "1"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "method_name": "tensorflow/serving/predict",
                    "inputs": {"x": {"dtype": "DT_INT32", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "8"}]}}},
                    "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]}}},
                }
            }
        }
    },
}
STATUS = {
    "model_version_status": [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}
PRESETS = """
[attached]
key = "1"
title = "Ten clients on nginx"
ladders = [{ kind = "batch", sizes = [1], clients = 10 }]
rounds = 2
min-seconds = 3.0
min-requests = 10
warmup-seconds = 0.2
"""


class Side(NamedTuple):
    """One tool at one number of clients: medians over the rounds."""

    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2.0, help="length of the longer of each pair of runs")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_body(folder)
        tools = [tool for tool in TOOLS if tool == "ours" or shutil.which(tool)]
        missing = [tool for tool in (*TOOLS, "nginx") if tool not in tools and not shutil.which(tool)]
        print(
            f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; other work distorts all of this"
        )
        if missing:
            print(f"not installed, left out: {', '.join(missing)} (apt-get install nginx wrk apache2-utils hey)")
        if "nginx" not in missing:
            with nginx(folder) as base:
                url = base + PREDICT
                compare_tools(url, folder, tools, given.rounds, given.seconds)
                open_loop(url, folder)
                ten_thousand_clients(url, folder)
            attached(folder, given.rounds)
        for delay in DELAYS:
            accuracy(delay, folder, tools, given.rounds, given.seconds)


def compare_tools(url: str, folder: Path, tools: list[str], rounds: int, seconds: float) -> None:
    print(f"\nnginx, one worker, fixed JSON; {rounds} rounds, tools in turn, medians; CPU by slope between two lengths")
    print(f"{'clients':>7}  {'tool':<5} {'CPU µs/req':>10} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8}   against wrk")
    sides: dict[tuple[int, str], Side] = {}
    for clients in CLIENTS:
        runs: dict[str, list[tuple[Measured, Measured]]] = {tool: [] for tool in tools}
        for i in range(rounds):
            for tool in tools if i % 2 == 0 else reversed(tools):
                short, long = (TOOLS[tool](url, clients, length, folder) for length in (1.0, 1.0 + seconds))
                runs[tool].append((short, long))
        for tool in tools:
            sides[clients, tool] = side(runs[tool])
            print_side(clients, tool, sides[clients, tool], sides.get((clients, "wrk")))
    print_aims(sides)


def side(runs: list[tuple[Measured, Measured]]) -> Side:
    slopes = [(long.cpu_s - short.cpu_s) / (long.requests - short.requests) * 1e6 for short, long in runs]
    middle = statistics.median
    return Side(middle(slopes), *(middle(long[i] for _, long in runs) for i in (2, 3, 4)))


def print_side(clients: int, tool: str, measured: Side, wrk: Side | None) -> None:
    line = f"{clients:>7}  {tool:<5} {measured.cpu_us:>10.2f} {measured.rps:>9.0f}"
    line += f" {measured.p50_ms:>8.3f} {measured.p99_ms:>8.3f}"
    if wrk is not None and tool != "wrk":
        line += f"   CPU × {measured.cpu_us / wrk.cpu_us:.2f}, req/s × {measured.rps / wrk.rps:.2f}"
        # hey prints its percentiles in steps of 0.1 ms.
        line += f", p50 × {measured.p50_ms / wrk.p50_ms:.2f}" if tool != "hey" else ""
    print(line, flush=True)


def print_aims(sides: dict[tuple[int, str], Side]) -> None:
    def ratio(clients: int, other: str, field: str) -> float | None:
        if (clients, other) not in sides:
            return None
        return getattr(sides[clients, "ours"], field) / getattr(sides[clients, other], field)

    aim("CPU per request ÷ wrk, c = 10", ratio(10, "wrk", "cpu_us"), 1.4)
    aim("CPU per request ÷ wrk, c = 100", ratio(100, "wrk", "cpu_us"), 1.4)
    aim("CPU per request ÷ hey, c = 10", ratio(10, "hey", "cpu_us"), 0.25)
    if (10, "wrk") in sides and (10, "hey") in sides:
        least = sides[10, "wrk"].cpu_us / sides[10, "hey"].cpu_us
        print(f"       (wrk itself ÷ hey: {least:.2f}; most of that is the kernel's share, which no client can save)")
    aim("p50 ÷ wrk's, c = 1", ratio(1, "wrk", "p50_ms"), 1.3)
    aim("p50 ÷ wrk's, c = 10", ratio(10, "wrk", "p50_ms"), 1.25)


def aim(name: str, value: float | None, bound: float, unit: str = "", *, least: bool = False) -> None:
    """Print a figure beside its aim: at most ``bound``, or at least."""
    met = value is not None and (value >= bound if least else value <= bound)
    said = "not measured" if value is None else f"{value:.3g}{unit} ({'met' if met else 'MISSED'})"
    print(f"  aim: {name} {'≥' if least else '≤'} {bound:g}{unit}: {said}", flush=True)


def open_loop(url: str, folder: Path) -> None:
    measured, said = ours(url, 50, 5.0, folder, "-z", "5", "--rate", "5000")
    print(f"\nopen loop, 5,000 requests/s, one process: {measured.rps:.0f}/s, response p99 {measured.p99_ms:.3f} ms")
    aim("sends later than 1 ms", said["client"]["late"] / said["requests"] * 100, 1.0, " %")


def ten_thousand_clients(url: str, folder: Path) -> None:
    measured, said = ours(url, 10_000, 0.0, folder, "-n", "100000")
    print(f"\n10,000 clients on nginx: {measured.requests} answers at {measured.rps:.0f}/s, errors {said['errors']}")
    aim("errors", sum(said["errors"].values()), 0)
    aim("peak memory of the engine", said["client"]["peak_rss_mb"], 400, " MB")


def accuracy(delay: str, folder: Path, tools: list[str], rounds: int, seconds: float) -> None:
    """What our tool and wrk report against the delay that the server itself measured in that very run."""
    print(f"\naccuracy, a server with a known delay ({delay}), 4 clients; {rounds} rounds, medians")
    errors: dict[str, list[tuple[float, float]]] = {tool: [] for tool in ("wrk", "ours") if tool in tools}
    for _ in range(rounds):
        for tool, runs in errors.items():
            with delay_server(delay) as (url, truth):
                measured = TOOLS[tool](url, 4, seconds, folder)
                p50, p99 = truth()
            runs.append(((measured.p50_ms / p50 - 1) * 100, (measured.p99_ms / p99 - 1) * 100))
    middle = {tool: [statistics.median(column) for column in zip(*runs, strict=True)] for tool, runs in errors.items()}
    for tool, (p50_error, p99_error) in middle.items():
        print(f"  {tool:<5} p50 {p50_error:+.2f} %, p99 {p99_error:+.2f} %")
    error, most = abs(middle["ours"][0]), max(2.0, abs(middle.get("wrk", [0.0])[0]))
    aim("error of p50 (or wrk's, if larger)", error, most, " %")
    if error > most:
        print(
            "       (with one client both are equally far off; answers that come together are read one after another,"
        )
        print("       and after 5 ms of idling a read in Python takes longer than one in C)")


def attached(folder: Path, rounds: int) -> None:
    """Ten clients on nginx, measured by `tfserve-tui run` and by the terminal UI with its charts moving, in turn."""
    answers = {"/v1/models/m/metadata": METADATA, f"= {PREDICT}": ANSWER, "= /v1/models/m": STATUS}
    with nginx(folder, answers) as base:
        environment = settings(folder, base)
        rps: dict[str, list[float]] = {"headless": [], "attached": []}
        for i in range(rounds):
            for way in ("headless", "attached") if i % 2 == 0 else ("attached", "headless"):
                rps[way].append((headless if way == "headless" else in_terminal)(folder, environment))
    ratios = [with_ui / without for with_ui, without in zip(rps["attached"], rps["headless"], strict=True)]
    headless_rps, attached_rps = (statistics.median(rps[way]) for way in ("headless", "attached"))
    print(f"\nterminal UI attached, charts moving, nginx, c = 10: {attached_rps:.0f}/s, headless {headless_rps:.0f}/s")
    aim("requests/s ÷ headless", statistics.median(ratios), 0.97, least=True)


def settings(folder: Path, base: str) -> dict[str, str]:
    """The environment of a tfserve-tui for which both servers are the nginx at ``base``."""
    (folder / "presets.toml").write_text(PRESETS)
    (folder / "tfserve.toml").write_text(
        '[model]\nname = "m"\n'
        + "".join(f'[{server}]\nruntime = "external"\nurl = "{base}"\n' for server in ("tf-serving", "flask"))
    )
    folders = {name: str(folder / name) for name in ("state", "data")}
    return {
        **os.environ,
        "TFSERVE_CONFIG_DIR": str(folder),
        "TFSERVE_STATE_DIR": folders["state"],
        "TFSERVE_DATA_DIR": folders["data"],
    }


def headless(folder: Path, environment: dict[str, str]) -> float:
    """Mean requests/s over the cells of one run of the command line."""
    return mean_rps(tfserve(folder, environment, "run", "attached", "--json"))


def in_terminal(folder: Path, environment: dict[str, str]) -> float:
    """The same of one run in the terminal UI."""
    with terminal(program(folder), environment, folder) as shown:
        shown.wait_for("Ten clients on nginx", RUN_LIMIT_S)
        shown.press("1")
        shown.wait_for("done", RUN_LIMIT_S)
    return mean_rps(tfserve(folder, environment, "show", "last", "--json"))


def program(folder: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "tui", "--config", str(folder / "tfserve.toml")]


def tfserve(folder: Path, environment: dict[str, str], *command: str) -> str:
    """What one command wrote to stdout."""
    done = subprocess.run(
        [*program(folder), *command],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"tfserve-tui {' '.join(command)} failed: {done.stderr}")
    return done.stdout


def mean_rps(result: str) -> float:
    return statistics.mean(cell["throughput_rps"] for cell in json.loads(result)["run"]["cells"])


if __name__ == "__main__":
    main()
