"""The command that says what a larger load would need."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving_ctl import formatting
from serving_ctl.cli.session import print_data, run_async
from serving_ctl.errors import Exit

if TYPE_CHECKING:
    from serving_ctl.load.sizing import Cost, Demand, Sizing
    from serving_ctl.results.tables import Table

URL = "http://127.0.0.1/"


@click.command()
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), required=True, help="Requests/s.")
@click.option(
    "--latency",
    "latency_ms",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="What the servers are expected to take, ms.",
)
@click.option("--body", type=click.Path(path_type=Path), help="Request body; without it 200 bytes are taken.")
@click.option("--answer-bytes", type=click.IntRange(min=0), default=200, show_default=True, help="Size of an answer.")
@click.option("--no-keep-alive", is_flag=True, help="The server closes after every answer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    rate: float, latency_ms: float, body: Path | None, answer_bytes: int, no_keep_alive: bool, as_json: bool
) -> int:
    """Estimate what a load of that rate needs, from what the client needs on this machine."""
    from serving_ctl.load.command import load_spec
    from serving_ctl.load.sizing import Demand, measured_cost, size
    from serving_ctl.results.text import table_text

    with tempfile.TemporaryDirectory(prefix="tfserve-tui-") as folder:
        if body is None:
            body = Path(folder) / "body.json"
            body.write_text('{"instances": [' + "0" * 183 + "]}", encoding="utf-8")
        spec = load_spec(URL, body_file=body)
        demand = Demand(
            rate_rps=rate,
            latency_ms=latency_ms,
            request_bytes=body.stat().st_size,
            answer_bytes=answer_bytes,
            keeps_connections=not no_keep_alive,
        )
        cost = run_async(measured_cost(spec, demand))
    sizing = size(demand, cost)
    if as_json:
        print_data({"demand": demand, "cost": cost, "sizing": sizing})
    else:
        print_data(table_text(_table(demand, cost, sizing)))
    return Exit.DONE


def _table(demand: Demand, cost: Cost, sizing: Sizing) -> Table:
    from serving_ctl.load.limits import SPARE_FILES
    from serving_ctl.load.sizing import TIME_WAIT_S
    from serving_ctl.load.work import BUSY_LIMIT
    from serving_ctl.results.tables import Column, Row, Table

    rate, latency = f"{formatting.significant(demand.rate_rps)}/s", f"{formatting.significant(demand.latency_ms)} ms"
    cpu = f"{formatting.significant(cost.cpu_us)} µs"
    ports = "one a client" if demand.keeps_connections else f"{rate} × {TIME_WAIT_S} s that a closed one is kept"
    each = formatting.count(demand.request_bytes + demand.answer_bytes)
    base, more = formatting.memory(cost.base_mb), formatting.significant(cost.client_kb)
    rows = (
        ("clients", formatting.count(sizing.clients), f"{rate} × {latency} (Little's law)"),
        ("load processes, a core each", formatting.count(sizing.workers), f"{rate} × {cpu} CPU ÷ {BUSY_LIMIT}"),
        ("open files a process", formatting.count(sizing.files_per_worker), f"its clients + {SPARE_FILES}"),
        ("ports", formatting.count(sizing.ports), ports),
        (
            "addresses for them",
            formatting.count(sizing.addresses),
            f"{formatting.count(cost.ports)} ports to one address",
        ),
        (
            "network, Mbit/s each way together",
            formatting.significant(sizing.network_mbit_s),
            f"{rate} × {each} bytes and headers",
        ),
        ("memory", formatting.memory(sizing.memory_mb), f"{base} a process + {more} kB a client"),
    )
    return Table(
        title=f"What {rate} would need",
        columns=(Column(label="what", numeric=False), Column(label="estimate"), Column(label="formula", numeric=False)),
        rows=tuple(Row(cells=row) for row in rows),
        notes=("CPU and memory were measured on this machine just now, against a server that does nothing.",),
    )
