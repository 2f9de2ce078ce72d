"""wrk, ab, hey and our own `tfserve-tui load`, each run once and its report read."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BODY = '{"instances": [[1, 2, 3, 4, 5, 6, 7, 8]]}'


class Measured(NamedTuple):
    """One run of one tool."""

    cpu_s: float
    requests: int
    rps: float
    p50_ms: float
    p99_ms: float


def write_body(folder: Path) -> None:
    """The request body as each tool wants it."""
    (folder / "body.json").write_text(BODY)
    (folder / "post.lua").write_text(
        f"wrk.method='POST'; wrk.body='{BODY}'; wrk.headers['Content-Type']='application/json'"
    )


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
