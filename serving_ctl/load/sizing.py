"""What a load of a given size would need, from what the client was seen to need on this machine."""

from __future__ import annotations

import math

import msgspec

from serving_ctl.load.calibrate import Calibration, calibrate
from serving_ctl.load.echo import CLOSE
from serving_ctl.load.limits import SPARE_FILES, ephemeral_ports
from serving_ctl.load.work import BUSY_LIMIT, LoadSpec

TIME_WAIT_S = 60
"""How long Linux keeps the port of a closed connection."""
USUAL_PORTS = 28_232
"""Ephemeral ports of a Linux that nobody changed, where this machine does not say its own."""
HEADERS_BYTES = 2 * 66
"""Ethernet, IP and TCP headers of one packet each way."""
MOST_CALIBRATED = 1_000
"""Clients of the larger of the two calibrations."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The load that is asked for."""

    rate_rps: float
    latency_ms: float
    """What the servers are expected to take; clients are then busy for so long."""
    request_bytes: int
    answer_bytes: int
    keeps_connections: bool = True


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the client was measured to need."""

    cpu_us: float
    """A request, on one core."""
    base_mb: float
    """A load process with one client."""
    client_kb: float
    """Each further client."""
    ports: int
    """Connections to one address of a server at a time."""


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What ``Demand`` needs."""

    clients: int
    workers: int
    files_per_worker: int
    ports: int
    addresses: int
    """Addresses (of servers, or of this machine) over which that many ports must be spread."""
    network_mbit_s: float
    memory_mb: float


def size(demand: Demand, cost: Cost) -> Sizing:
    """What ``demand`` needs: clients by Little's law, processes by CPU at the limit of R12, and a port a client, or
    without keep-alive a port a request for as long as the system keeps a closed one."""
    clients = max(math.ceil(demand.rate_rps * demand.latency_ms / 1e3), 1)
    workers = max(math.ceil(demand.rate_rps * cost.cpu_us / 1e6 / BUSY_LIMIT), 1)
    ports = clients if demand.keeps_connections else max(math.ceil(demand.rate_rps * TIME_WAIT_S), clients)
    return Sizing(
        clients=clients,
        workers=workers,
        files_per_worker=math.ceil(clients / workers) + SPARE_FILES,
        ports=ports,
        addresses=math.ceil(ports / cost.ports),
        network_mbit_s=demand.rate_rps * (demand.request_bytes + demand.answer_bytes + HEADERS_BYTES) * 8 / 1e6,
        memory_mb=workers * cost.base_mb + clients * cost.client_kb / 1e3,
    )


async def measured_cost(spec: LoadSpec, demand: Demand) -> Cost:
    """The client's cost of ``spec``'s requests here, by two calibrations of a second each. Raises LoadError."""
    if not demand.keeps_connections:
        spec = msgspec.structs.replace(spec, headers=(*spec.headers, CLOSE))
    clients = round(demand.rate_rps * demand.latency_ms / 1e3)
    one: Calibration = await calibrate(msgspec.structs.replace(spec, clients=1))
    number = max(min(clients, MOST_CALIBRATED), 10)
    many = await calibrate(msgspec.structs.replace(spec, clients=number))
    ports = ephemeral_ports()
    return Cost(
        cpu_us=many.cpu_us,
        base_mb=one.memory_mb,
        client_kb=max(many.memory_mb - one.memory_mb, 0.0) * 1e3 / (number - 1),
        ports=len(ports) if ports else USUAL_PORTS,
    )
