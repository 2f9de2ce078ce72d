"""The command that loads any HTTP endpoint with the engine that measures the servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving_ctl import formatting
from serving_ctl.cli.session import CLUSTER_HELP, print_data, run_async, say
from serving_ctl.errors import ConfigError, Exit

if TYPE_CHECKING:
    from serving_ctl.load.calibrate import Calibration
    from serving_ctl.load.local import Load
    from serving_ctl.load.work import LoadResult, LoadSpec, Tick

VAIN_ERRORS = 10
"""So many failures before any answer end the load: nothing is there to be measured."""


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--method", default=None, help="HTTP method [default: POST with a body, else GET].")
@click.option("--header", "-H", "headers", multiple=True, help="'Name: value'; may be repeated.")
@click.option("--body", type=click.Path(path_type=Path), help="Request body; a .jsonl file holds one body a line.")
@click.option("-c", "--clients", type=click.IntRange(min=1), default=1, show_default=True, help="Simultaneous clients.")
@click.option("-n", "--requests", type=click.IntRange(min=1), help="Send exactly this many requests [default: 200].")
@click.option(
    "-z", "--seconds", type=click.FloatRange(min=0, min_open=True), help="Send for this long, in place of -n."
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Open loop: requests/s.")
@click.option("--poisson", is_flag=True, help="Open loop: random arrivals at that rate instead of even ones.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="SECONDS:TARGET",
    help="Ramp to TARGET within SECONDS: requests/s with --rate, else clients; may be repeated.",
)
@click.option("--gzip", is_flag=True, help="Send bodies compressed.")
@click.option("--calibrate", "calibrated", is_flag=True, help="Also measure what the client alone needs.")
@click.option("--processes", default="1", show_default=True, help="Load processes: a number, or auto.")
@click.option("--cluster", metavar="ADDRESS", help=CLUSTER_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def load(
    urls: tuple[str, ...],
    method: str | None,
    headers: tuple[str, ...],
    body: Path | None,
    clients: int,
    requests: int | None,
    seconds: float | None,
    rate: float | None,
    poisson: bool,
    stages: tuple[str, ...],
    gzip: bool,
    calibrated: bool,
    processes: str,
    cluster: str | None,
    as_json: bool,
) -> int:
    """Load any HTTP endpoint with the engine that measures the servers; several URLs share the load."""
    from serving_ctl.load.command import load_document, load_spec
    from serving_ctl.load.local import LocalLoad

    spec = load_spec(
        urls[0],
        also=urls[1:],
        method=method,
        headers=headers,
        body_file=body,
        clients=clients,
        requests=requests,
        seconds=seconds,
        rate=rate,
        poisson=poisson,
        stages=stages,
        gzip=gzip,
    )
    number = _process_count(processes, clients)
    if cluster is not None and number > 1:
        raise ConfigError("--cluster runs one load process on each of its workers; leave --processes out.")

    async def work() -> tuple[LoadResult, Calibration | None]:
        if cluster is None:
            return await _measured(LocalLoad(number), spec, calibrated=calibrated)
        from serving_ctl.cluster import open_cluster

        async with open_cluster(cluster) as there:
            await there.check(urls)
            return await _measured(there, spec, calibrated=calibrated)

    result, calibration = run_async(work())
    document = load_document(spec, result, calibration)
    print_data(document if as_json else _load_text(document))
    if not result.requests and "SKIPPED" in result.flags:
        say(f"{' and '.join(urls)} answered none of the first requests: the load was ended early.")
    return Exit.DONE if result.requests else Exit.INCOMPLETE


async def _measured(source: Load, spec: LoadSpec, *, calibrated: bool) -> tuple[LoadResult, Calibration | None]:
    """The load carried out by ``source``, ended early when nothing answers."""
    from serving_ctl.load.calibrate import mark_client_bound
    from serving_ctl.load.pool import Control

    calibration = await source.calibrate(spec) if calibrated else None
    control = Control()

    def stop_in_vain(tick: Tick) -> None:
        if not tick.requests and tick.errors >= VAIN_ERRORS:
            control.skip()

    result = await source.run(spec, on_tick=stop_in_vain, control=control)
    return (mark_client_bound(result, calibration) if calibration else result), calibration


def _process_count(text: str, clients: int) -> int:
    """``--processes`` as a number; raises ConfigError for what is neither auto nor a number from 1."""
    from serving_ctl.load.pool import auto_processes

    if text == "auto":
        return auto_processes(clients)
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--processes {text}: give a number from 1, or auto.")
    return int(text)


def _load_text(document: dict[str, Any]) -> str:
    latency = ", ".join(f"{name} {formatting.significant(value)}" for name, value in document["latency_ms"].items())
    errors = ", ".join(f"{kind} {formatting.count(n)}" for kind, n in document["errors"].items()) or "none"
    client = document["client"]
    addresses = ", ".join(f"{name} {formatting.count(n)}" for name, n in document["addresses"].items())
    shared = f"\nsent to {addresses}" if addresses else ""
    floor = f"\nclient alone, ms: p50 {formatting.significant(client['floor_ms'])}" if client["floor_ms"] else ""
    flags = f"\nflags: {', '.join(document['flags'])}" if document["flags"] else ""
    return (
        f"{formatting.count(document['requests'])} requests in {formatting.duration(document['duration_s'])}, "
        f"{formatting.significant(document['throughput_rps'])} requests/s; errors: {errors}\n"
        f"{document['latency']} time, ms: {latency}{shared}{floor}{_origin_text(document['origin'])}{flags}"
    )


def _origin_text(origin: dict[str, Any] | None) -> str:
    """A line on the workers of a cluster; empty without one."""
    if origin is None:
        return ""
    where = f"{formatting.plural(origin['workers'], 'Dask worker')} on {formatting.plural(origin['hosts'], 'host')}"
    lost = f", {origin['lost']} lost" if origin["lost"] else ""
    skew, error = (formatting.significant(origin[name]) for name in ("start_skew_ms", "offset_error_ms"))
    return f"\nfrom {where}{lost}; start skew {skew} ms, known within ±{error} ms"
