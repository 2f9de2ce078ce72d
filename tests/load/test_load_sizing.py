"""What a larger load would need, from what the client needs here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from serving_ctl.load.command import load_spec
from serving_ctl.load.sizing import Cost, Demand, measured_cost, size

DEMAND = Demand(rate_rps=100_000, latency_ms=20.0, request_bytes=1_000, answer_bytes=118)
COST = Cost(cpu_us=10.0, base_mb=40.0, client_kb=5.0, ports=28_000)


def test_the_figures_follow_the_formulas() -> None:
    sizing = size(DEMAND, COST)
    assert sizing.clients == 2_000  # 100,000/s × 20 ms
    assert sizing.workers == 2  # 1.0 cores of work, each at most 0.8 busy
    assert sizing.files_per_worker == 1_256
    assert (sizing.ports, sizing.addresses) == (2_000, 1)
    assert sizing.network_mbit_s == pytest.approx(1_000)  # 1,250 bytes with headers
    assert sizing.memory_mb == pytest.approx(90)


def test_without_keep_alive_every_request_takes_a_port_for_a_minute() -> None:
    sizing = size(msgspec.structs.replace(DEMAND, keeps_connections=False), COST)
    assert (sizing.ports, sizing.addresses) == (6_000_000, 215)


def test_nothing_needs_at_least_one_of_everything() -> None:
    sizing = size(msgspec.structs.replace(DEMAND, rate_rps=0.1), COST)
    assert (sizing.clients, sizing.workers, sizing.ports, sizing.addresses) == (1, 1, 1, 1)


def test_a_connect_for_every_request_costs_more(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text("{}")
    spec = load_spec("http://127.0.0.1/", body_file=body)
    kept, closed = (
        asyncio.run(measured_cost(spec, msgspec.structs.replace(DEMAND, keeps_connections=keeps)))
        for keeps in (True, False)
    )
    assert closed.cpu_us > kept.cpu_us > 0
    assert kept.base_mb > 0
