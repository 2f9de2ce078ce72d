"""A/A check: does the measurement call two equal servers equal, and a 10 % slower one slower? (R16)

Two processes answer every request after a fixed delay; they are measured by the engine's own runner, counted by row.
The full check, 20 rows in profile standard, takes half an hour; ``--rows 8 --seconds 0.3`` four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from serving_ctl.api.rest import ModelClient
from serving_ctl.bench.endpoint import Endpoint
from serving_ctl.bench.plan import make_plan
from serving_ctl.bench.presets import PROFILES, LadderTable, Preset
from serving_ctl.bench.runner import Runner
from serving_ctl.bench.steering import Steering
from serving_ctl.config import BenchSettings
from serving_ctl.events import Event, RunStarted, Target
from serving_ctl.load.echo import EchoProtocol, serve
from serving_ctl.load.limits import die_with_parent
from serving_ctl.results.metrics import REQUEST_TIME
from serving_ctl.results.rates import row_comparison
from serving_ctl.results.record import RunRecord
from serving_ctl.stats.rounds import Verdict

SERVERS = ("first", "second")
DELAY_MS = 10.0
SLOWER = 1.10


class DelayProtocol(EchoProtocol):
    """Answers each request ``delay_s`` after it came."""

    delay_s = 0.0

    def respond(self) -> None:
        """Answer one request, later."""
        asyncio.get_running_loop().call_later(self.delay_s, super().respond)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=PROFILES["standard"].rounds)
    parser.add_argument("--seconds", type=float, default=PROFILES["standard"].min_seconds, help="of one cell")
    parser.add_argument("--serve", type=float, metavar="DELAY_MS", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        DelayProtocol.delay_s = options.serve / 1000
        die_with_parent(options.parent)
        asyncio.run(serve(DelayProtocol))
        return 0
    equal = asyncio.run(verdicts(options, DELAY_MS))
    slower = asyncio.run(verdicts(options, DELAY_MS * SLOWER))
    return report(equal, slower)


def report(equal: Counter[Verdict], slower: Counter[Verdict]) -> int:
    """Say what was found against what is promised; 1 when a promise is not kept."""
    rows = equal.total()
    unjudged = equal[Verdict.TIE] + equal[Verdict.INCONCLUSIVE]
    promises = (
        (f"equal servers: {unjudged} of {rows} rows tie or inconclusive (promised: 95 %)", unjudged >= 0.95 * rows),
        (f"equal servers: {equal[Verdict.TIE]} of {rows} rows tie (promised: half)", 2 * equal[Verdict.TIE] >= rows),
        (
            f"second 10 % slower: {slower[Verdict.FIRST]} of {slower.total()} rows say so (promised: 90 %)",
            slower[Verdict.FIRST] >= 0.9 * slower.total(),
        ),
    )
    for text, kept in promises:
        print(f"{'ok  ' if kept else 'FAIL'} {text}")
    return 0 if all(kept for _, kept in promises) else 1


async def verdicts(options: argparse.Namespace, second_ms: float) -> Counter[Verdict]:
    """The verdicts of all rows of one run, the first server answering after ``DELAY_MS``."""
    async with AsyncExitStack() as stack:
        endpoints = {}
        for server, delay_ms in zip(SERVERS, (DELAY_MS, second_ms), strict=True):
            client = ModelClient(await start(stack, delay_ms), "m")
            endpoints[server] = Endpoint(server=server, client=await stack.enter_async_context(client))
        record = await measure(options, endpoints)
    ladder = record.started.ladders[0]
    found = (row_comparison(record, ladder, size, REQUEST_TIME) for size in ladder.sizes)
    return Counter(comparison.verdict for comparison in found if comparison)


async def start(stack: AsyncExitStack, delay_ms: float) -> str:
    """The URL of a fresh server that lives as long as ``stack``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--serve", str(delay_ms), "--parent", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    stack.push_async_callback(process.wait)
    stack.callback(process.stdin.close)
    return f"http://127.0.0.1:{int(await process.stdout.readline())}"


async def measure(options: argparse.Namespace, endpoints: dict[str, Endpoint]) -> RunRecord:
    """One run of the engine's runner: a row is a batch size, which these servers do not look at."""
    preset = Preset(
        title="A/A", ladders=(LadderTable(kind="batch", sizes=tuple(range(1, options.rows + 1))),),
        rounds=options.rounds, min_seconds=options.seconds, min_requests=30, warmup_seconds=0.3,
    )  # fmt: skip
    plan = make_plan("aa", preset, BenchSettings())
    started = RunStarted(
        run_id="aa", started_at="", tool_version="", preset="aa", title="A/A", profile="standard", rounds=plan.rounds,
        ladders=plan.ladders, targets=tuple(Target(server=s, name=s, label=s, version="", url="") for s in SERVERS),
        facts=(), model="", signature="", seed=0, expected_s=plan.expected_s,
    )  # fmt: skip
    record = RunRecord(started=started)

    def keep(event: Event) -> None:
        nonlocal record
        record = record.with_event(event)

    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body.jsonl"
        body.write_text('{"instances": [1]}\n')
        bodies = {("aa", size): body for size in plan.ladders[0].sizes}
        await Runner(plan, endpoints, bodies, keep, _nothing, _nothing, Steering()).run(started)
    return record


async def _nothing(server: str) -> None:
    """These servers neither die nor are looked into."""


if __name__ == "__main__":
    sys.exit(main())
