"""The load engine beside wrk, ab and hey, against nginx; its accuracy, its open loop, 10,000 clients (`make bench`).

Nobody can measure more precisely than the noise of the machine: every comparison is made in the same run, tools in
turn, and the medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

BODY = '{"instances": [[1, 2, 3, 4, 5, 6, 7, 8]]}'
ANSWER = '{"predictions": [[0.123456, 0.876544], [0.5, 0.5], [0.1, 0.9], [0.25, 0.75]]}'
CLIENTS = (1, 10, 100)
NGINX = """
worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;
events {{ worker_connections 15000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; types {{ }} default_type application/json;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{answer}'; }} }}
}}
"""


class Measured(NamedTuple):
    """One run of one tool."""

    cpu_s: float
    requests: int
    rps: float
    p50_ms: float
    p99_ms: float


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
    arguments.add_argument("--delay-server", choices=DELAYS, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.delay_server:
        asyncio.run(serve_delays(given.delay_server))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "body.json").write_text(BODY)
        (folder / "post.lua").write_text(
            f"wrk.method='POST'; wrk.body='{BODY}'; wrk.headers['Content-Type']='application/json'"
        )
        tools = [tool for tool in TOOLS if tool == "ours" or shutil.which(tool)]
        missing = [tool for tool in (*TOOLS, "nginx") if tool not in tools and not shutil.which(tool)]
        print(
            f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; other work distorts all of this"
        )
        if missing:
            print(f"not installed, left out: {', '.join(missing)} (apt-get install nginx wrk apache2-utils hey)")
        if "nginx" not in missing:
            with nginx(folder) as url:
                compare_tools(url, folder, tools, given.rounds, given.seconds)
                open_loop(url, folder)
                ten_thousand_clients(url, folder)
        for delay in DELAYS:
            accuracy(delay, folder, tools, given.rounds, given.seconds)


# --- the tools -------------------------------------------------------------------------------------------------------


def ours(url: str, clients: int, seconds: float, folder: Path, *more: str) -> tuple[Measured, dict]:
    """`tfserve-tui load`, with recording, status and length checks on."""
    command = [sys.executable, "-m", "tui", "load", url, "--body", str(folder / "body.json"), "-c", str(clients)]
    out, cpu_s = run([*command, *(more or ("-z", str(seconds))), "--json"])
    said = json.loads(out)
    latency = said["latency_ms"]
    p99 = latency["p99"] if latency["p99"] is not None else float("nan")
    return Measured(cpu_s, said["requests"], said["throughput_rps"], latency["p50"], p99), said


def run_ours(url: str, clients: int, seconds: float, folder: Path) -> Measured:
    return ours(url, clients, seconds, folder)[0]


def run_wrk(url: str, clients: int, seconds: float, folder: Path) -> Measured:
    # wrk takes whole seconds only.
    out, cpu_s = run(
        ["wrk", "-t1", f"-c{clients}", f"-d{max(round(seconds), 1)}s", "--latency", "-s", folder / "post.lua", url]
    )
    requests = int(found(r"(\d+) requests in", out))
    return Measured(
        cpu_s, requests, float(found(r"Requests/sec: +([\d.]+)", out)), *(wrk_ms(out, p) for p in ("50", "99"))
    )


def wrk_ms(out: str, percent: str) -> float:
    value, unit = re.search(rf"{percent}% +([\d.]+)(us|ms|s)\b", out).groups()
    return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def run_ab(url: str, clients: int, seconds: float, folder: Path) -> Measured:
    table = folder / "ab.csv"
    most = str(int(seconds * 60_000))
    options = ["-k", "-q", "-c", str(clients), "-t", str(max(round(seconds), 1)), "-n", most, "-e", str(table)]
    out, cpu_s = run(["ab", *options, "-p", str(folder / "body.json"), "-T", "application/json", url])
    with table.open() as rows:
        percentile = {row[0]: float(row[1]) for row in csv.reader(rows) if row[0].isdigit()}
    requests = int(found(r"Complete requests: +(\d+)", out))
    return Measured(
        cpu_s, requests, float(found(r"Requests per second: +([\d.]+)", out)), percentile["50"], percentile["99"]
    )


def run_hey(url: str, clients: int, seconds: float, folder: Path) -> Measured:
    options = ["-z", f"{seconds}s", "-c", str(clients), "-m", "POST", "-T", "application/json"]
    out, cpu_s = run(["hey", *options, "-D", str(folder / "body.json"), url])
    p50, p99 = (float(found(rf"{p}%+ in ([\d.]+) secs", out)) * 1e3 for p in (50, 99))
    requests = int(found(r"\[200\]\s+(\d+) responses", out))
    return Measured(cpu_s, requests, float(found(r"Requests/sec:\s+([\d.]+)", out)), p50, p99)


TOOLS: dict[str, Callable[[str, int, float, Path], Measured]] = {
    "wrk": run_wrk,
    "ours": run_ours,
    "ab": run_ab,
    "hey": run_hey,
}


def run(command: list[str | Path]) -> tuple[str, float]:
    """Output and CPU seconds of a command, its own children's too."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, complaints = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {complaints or out}")
    return out, used.ru_utime + used.ru_stime


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"{pattern!r} is not in:\n{text}")
    return match[1]


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """The URL of an nginx that answers every request with one fixed JSON."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, answer=ANSWER))
    command = ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"nginx did not start: {(folder / 'error.log').read_text()}")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1/models/m:predict"
        finally:
            process.terminate()


# --- what is measured ------------------------------------------------------------------------------------------------


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


def aim(name: str, value: float | None, most: float, unit: str = "") -> None:
    said = "not measured" if value is None else f"{value:.3g}{unit} ({'met' if value <= most else 'MISSED'})"
    print(f"  aim: {name} ≤ {most:g}{unit}: {said}", flush=True)


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
            "       (with one client a bare epoll loop in Python is as far off: after idling it wakes up slower than C)"
        )


# --- the server with a known delay -----------------------------------------------------------------------------------

DELAYS = ("fixed 5 ms", "log-normal")


@contextlib.contextmanager
def delay_server(delay: str) -> Iterator[tuple[str, Callable[[], tuple[float, float]]]]:
    """The URL of a server with that delay, and a function that asks it for the p50 and p99 it has measured, in ms."""
    command = [sys.executable, __file__, "--delay-server", delay]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def truth() -> tuple[float, float]:
            process.stdin.close()
            p50, p99 = json.loads(process.stdout.readline())
            return p50, p99

        yield f"http://127.0.0.1:{port}/", truth


async def serve_delays(kind: str) -> None:
    """Answer each request after its delay; when stdin ends, print p50 and p99 of the delays as they were (ms)."""
    from serving_ctl.load.alarm import alarm
    from serving_ctl.load.echo import EchoProtocol, serve

    seeded = random.Random(1)
    next_delay = {"fixed 5 ms": lambda: 5e6, "log-normal": lambda: 5e6 * seeded.lognormvariate(0.0, 0.5)}[kind]
    real: list[float] = []
    due: list[tuple[int, int, int, EchoProtocol]] = []

    class Delayed(EchoProtocol):
        def respond(self) -> None:
            arrived = time.perf_counter_ns()
            heappush(due, (arrived + int(next_delay()), arrived, id(self), self))
            clock.set(due[0][0])

    def answer_due() -> None:
        while due and due[0][0] <= time.perf_counter_ns():
            _, arrived, _, connection = heappop(due)
            EchoProtocol.respond(connection)
            real.append((time.perf_counter_ns() - arrived) / 1e6)
        if due:
            clock.set(due[0][0])

    clock = alarm(asyncio.get_running_loop(), answer_due)
    await serve(Delayed)
    real.sort()
    print(json.dumps([real[len(real) // 2], real[len(real) * 99 // 100]]))


if __name__ == "__main__":
    main()
