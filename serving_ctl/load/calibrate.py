"""What the client itself can do: the same load at the built-in echo server gives its ceiling and its floor (R12)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec

from serving_ctl.errors import LoadError
from serving_ctl.load.pool import module_environment, run_load
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Warmup
from serving_ctl.stats.latency import shown_quantile_ms

_BOUND = 2.0
_ECHO_STARTS_WITHIN_S = 10.0


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What the client reaches with a server that does nothing."""

    ceiling_rps: float
    floor_ms: float
    """p50 of the request time (open loop: response time)."""
    cpu_us: float
    """CPU of the load processes a request."""
    memory_mb: float
    """Peak memory of a load process."""


async def calibrate(spec: LoadSpec, *, processes: int = 1, seconds: float = 0.5) -> Calibration:
    """Run ``spec``'s requests for ``seconds`` at the echo server. Raises LoadError."""
    async with echo_server() as port:
        path = urlsplit(spec.url).path or "/"
        result = await run_load(
            msgspec.structs.replace(
                spec,
                rate_rps=_highest_rate(spec),
                url=f"http://127.0.0.1:{port}{path}",
                also=(),
                movable=False,
                stop=StopRule(seconds=seconds, requests=5, max_seconds=10 * seconds),
                warmup=Warmup(seconds=seconds / 5),
                burst=False,
                stages=(),
                samples=0,
            ),
            processes=processes,
        )
    floor = shown_quantile_ms(result.latency, 0.5)
    if floor is None:
        raise LoadError("the calibration got no answers from the built-in server; see the log, then try again")
    return Calibration(
        ceiling_rps=result.throughput_rps,
        floor_ms=floor,
        cpu_us=result.client.cpu_s / result.requests * 1e6,
        memory_mb=result.client.peak_rss_mb,
    )


def _highest_rate(spec: LoadSpec) -> float | None:
    """A ramp is calibrated at its top: it may begin at 0."""
    return None if spec.rate_rps is None else max([spec.rate_rps, *(stage.target for stage in spec.stages)])


def mark_client_bound(result: LoadResult, calibration: Calibration) -> LoadResult:
    """``result``, with CLIENT-BOUND when its p50 is within 2× of the client's floor (R12)."""
    p50 = shown_quantile_ms(result.latency, 0.5)
    if p50 is None or p50 >= _BOUND * calibration.floor_ms or "CLIENT-BOUND" in result.flags:
        return result
    return msgspec.structs.replace(result, flags=(*result.flags, "CLIENT-BOUND"))


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """The port of a fresh echo server, which ends with the block. Raises LoadError when it does not start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "serving_ctl.load.echo", str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=module_environment(),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _ECHO_STARTS_WITHIN_S)
        if not line.strip().isdigit():
            raise LoadError("the built-in echo server did not start; calibration is not possible")
        yield int(line)
    except TimeoutError as error:
        raise LoadError(f"the built-in echo server did not start within {_ECHO_STARTS_WITHIN_S:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
