"""What it costs and changes to bring load from Dask workers, on one machine (`make bench`).

The same total load at a server of a known delay from 1, 2 and 4 workers; CPU a request beside a plain load process; how
far apart workers begin; what is lost with a worker that is killed. Two cores are shared by all: the load is kept small.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from load_engine import aim
from rig.delay_server import delay_server

from serving_ctl.cluster import open_cluster
from serving_ctl.cluster.load import ClusterLoad
from serving_ctl.load.calibrate import echo_server
from serving_ctl.load.local import LocalLoad
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Tick, Warmup
from serving_ctl.stats.latency import quantile_us

WORKERS = (1, 2, 4)
CLIENTS = 8
DELAY = "log-normal"
STARTED_WITHIN_S = 30.0
T_975 = {3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}
"""Student's t by degrees of freedom, two-sided 95 %."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=6, choices=range(4, 9))
    arguments.add_argument("--seconds", type=float, default=2.0, help="length of each load")
    given = arguments.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; other work distorts all of this")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given.rounds, given.seconds))


async def measure(folder: Path, rounds: int, seconds: float) -> None:
    async with contextlib.AsyncExitStack() as stack:
        address, workers = stack.enter_context(dask(folder, max(WORKERS)))
        by_workers = {number: await stack.enter_async_context(open_cluster(address)) for number in WORKERS}
        for number, load in by_workers.items():
            load.crew.workers = load.crew.workers[:number]
        with delay_server(DELAY) as (url, truth):
            await same_load(url, by_workers, rounds, seconds)
            print("  the delays as they were: p50 {:.3f} ms, p99 {:.3f} ms".format(*truth()))
        async with echo_server() as port:
            url = f"http://127.0.0.1:{port}/"
            await cost(url, by_workers[1], workers, rounds, seconds)
            await killed(url, by_workers[2], workers, seconds)


@contextlib.contextmanager
def dask(folder: Path, number: int) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """The address of a scheduler of our own, and its ``number`` workers by address."""
    started: list[subprocess.Popen[bytes]] = []
    quiet = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1")

    def start(name: str, ready: str, wanted: str, *command: str) -> str:
        """The last word of the line with ``wanted`` in the log of a new process that says ``ready``."""
        log = folder / name
        with log.open("wb") as out:
            started.append(
                subprocess.Popen([sys.executable, "-m", *command, *quiet], stdout=out, stderr=out, cwd=folder)
            )
        deadline = time.monotonic() + STARTED_WITHIN_S
        while ready not in log.read_text():
            if time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)} did not start: {log.read_text()}")
            time.sleep(0.05)
        return next(line.split()[-1] for line in log.read_text().splitlines() if wanted in line)

    try:
        address = start("scheduler", "Scheduler at:", "Scheduler at:", "distributed.cli.dask_scheduler", "--port", "0")
        worker = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny")
        workers = {}
        for i in range(number):
            own = start(f"worker-{i}", "Registered to:", "Start worker at:", *worker)
            workers[own] = psutil.Process(started[-1].pid)
        yield address, workers
    finally:
        for process in started:
            process.kill()
            process.wait()


async def same_load(url: str, loads: dict[int, ClusterLoad], rounds: int, seconds: float) -> None:
    """p50 and p99 of the same total load from 1, 2 and 4 workers, in random order each round (R16)."""
    spec = LoadSpec(url=url, clients=CLIENTS, stop=StopRule(seconds=seconds, max_seconds=seconds), warmup=warmup())
    results: dict[int, list[LoadResult]] = {number: [] for number in loads}
    shuffled = random.Random(0)
    for _ in range(rounds):
        for number in shuffled.sample(list(loads), len(loads)):
            results[number].append(await loads[number].run(spec))
    print(f"\n{CLIENTS} clients on a server with a known delay ({DELAY}), {rounds} rounds, medians of the rounds")
    head = f"{'workers':>7} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'start skew ms':>14} {'known ± ms':>11}"
    print(f"{head}   p50 ÷ one worker's")
    for number, done in results.items():
        p50, p99 = (statistics.median(quantile_us(one.request, p) / 1e3 for one in done) for p in (0.5, 0.99))
        skews = [one.origin.start_skew_ms for one in done if one.origin and one.origin.start_skew_ms is not None]
        errors = [one.origin.offset_error_ms for one in done if one.origin]
        rps = statistics.median(one.throughput_rps for one in done)
        skew = f"{statistics.median(skews):.2f}" if skews else "–"
        low, ratio, high = interval(done, results[1])
        beside = f"{ratio:.3f} [{low:.3f}, {high:.3f}]" if number > 1 else ""
        print(
            f"{number:>7} {rps:>8.0f} {p50:>8.3f} {p99:>8.3f} {skew:>14} {statistics.median(errors):>11.2f}   {beside}"
        )
        if number > 1:
            print(f"  aim: 1 lies within the rounds' interval: {'met' if low <= 1 <= high else 'MISSED'}")
            aim(f"largest start skew of {number} workers", max(skews), 20.0, " ms")


def interval(done: list[LoadResult], alone: list[LoadResult]) -> tuple[float, float, float]:
    """Ratio of the medians with its 95 % interval over rounds (R16)."""
    logs = [
        math.log(quantile_us(one.request, 0.5) / quantile_us(other.request, 0.5))
        for one, other in zip(done, alone, strict=True)
    ]
    middle = statistics.mean(logs)
    half = T_975[len(logs) - 1] * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle - half), math.exp(middle), math.exp(middle + half)


async def cost(url: str, one: ClusterLoad, workers: dict[str, psutil.Process], rounds: int, seconds: float) -> None:
    """CPU a request at full speed, by the slope between two lengths, of everything that takes part."""
    sides: dict[str, tuple[LocalLoad | ClusterLoad, psutil.Process | None]] = {
        "local": (LocalLoad(), None),
        "Dask": (one, workers[one.crew.workers[0]]),
    }
    slopes: dict[str, list[list[float]]] = {side: [] for side in sides}
    for i in range(rounds):
        for side in sides if i % 2 == 0 else reversed(sides):
            load, worker = sides[side]
            short, long = [await spent(load, worker, url, length) for length in (0.5, 0.5 + seconds)]
            requests = long[0] - short[0]
            slopes[side].append([(more - less) / requests * 1e6 for less, more in zip(short[1], long[1], strict=True)])
    print(f"\nCPU a request at a server that does nothing, 4 clients, {rounds} rounds in turn, medians, µs")
    print(f"{'':>7} {'load process':>13} {'Dask worker':>12} {'this process':>13}")
    for side, parts in slopes.items():
        load_process, worker_process, here = (statistics.median(column) for column in zip(*parts, strict=True))
        print(f"{side:>7} {load_process:>13.2f} {worker_process:>12.2f} {here:>13.2f}")
    pairs = list(zip(slopes["Dask"], slopes["local"], strict=True))
    aim("CPU a request of a Dask worker ÷ a local one", statistics.median(sum(a[:2]) / sum(b) for a, b in pairs), 1.05)
    print(f"  with this process, which listens to both: {statistics.median(sum(a) / sum(b) for a, b in pairs):.3f}")


async def spent(
    load: LocalLoad | ClusterLoad, worker: psutil.Process | None, url: str, seconds: float
) -> tuple[int, tuple[float, float, float]]:
    """Requests, and CPU seconds of the load process, the Dask worker that drives it, and this process."""
    spec = LoadSpec(url=url, clients=4, stop=StopRule(seconds=seconds, max_seconds=seconds), warmup=warmup())
    here = psutil.Process()
    before = cpu_s(worker) if worker else 0.0, cpu_s(here)
    result = await load.run(spec)
    after = cpu_s(worker) if worker else 0.0, cpu_s(here)
    return result.requests, (result.client.cpu_s, after[0] - before[0], after[1] - before[1])


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of the process itself, its children's left out."""
    used = process.cpu_times()
    return used.user + used.system


async def killed(url: str, two: ClusterLoad, workers: dict[str, psutil.Process], seconds: float) -> None:
    """What is lost when one of two workers is killed in mid-load: only its own requests, and they are counted."""
    half_over = asyncio.Event()
    rates = 400.0

    def watch(tick: Tick) -> None:
        if tick.phase == "window" and tick.elapsed_s > seconds:
            half_over.set()

    spec = LoadSpec(
        url=url, clients=8, rate_rps=rates, stop=StopRule(seconds=2 * seconds, max_seconds=2 * seconds), warmup=warmup()
    )
    running = asyncio.create_task(two.run(spec, on_tick=watch))
    await half_over.wait()
    workers[two.crew.workers[1]].kill()
    begun = time.monotonic()
    result = await running
    lost = result.errors["worker lost"]
    what = f"{2 * seconds:g} s of {rates:g} requests/s: {', '.join(result.flags)}"
    print(f"\na worker of two killed {seconds:g} s into {what}")
    print(f"  answered by the other {result.requests} (its share: {rates * seconds:.0f}); {lost.example}")
    aim("requests of the other worker without an answer", result.client.sent - result.requests, 0)
    aim("requests lost with it ÷ its share of that time", lost.count / (rates / 2 * seconds), 1.15)
    print(f"  the run ended {time.monotonic() - begun:.1f} s after the kill, as planned")


def warmup() -> Warmup:
    return Warmup(requests=10, seconds=0.2)


if __name__ == "__main__":
    main()
