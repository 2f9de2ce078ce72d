"""Opens what ``--cluster`` names: a scheduler that runs, hosts over ssh, or processes here; and closes it after us."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any

from serving_ctl.cluster.address import Address, Host, LocalProcesses, Scheduler, SshHosts, parse_address
from serving_ctl.cluster.crew import Crew
from serving_ctl.cluster.link import Link, import_dask
from serving_ctl.cluster.load import ClusterLoad
from serving_ctl.errors import ClusterError, MissingExtra

STARTED_WITHIN_S = 60.0
STOPPED_WITHIN_S = 5.0
REMOTE_PYTHON = "tfserve-tui.remote-python"
"""Dask setting (``DASK_TFSERVE_TUI__REMOTE_PYTHON``): the Python on ssh hosts; else the path of this one."""


@contextlib.asynccontextmanager
async def open_cluster(text: str) -> AsyncIterator[ClusterLoad]:
    """Load from the cluster that ``text`` names: its workers are there and have our versions.

    Raises ConfigError, MissingExtra and ClusterError.
    """
    address = parse_address(text)
    topic = f"tfserve-tui-{secrets.token_hex(4)}"
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(_place(address))
        link = await Link.open(place, text, topic)
        stack.push_async_callback(link.close)
        crew = Crew(link)
        stack.push_async_callback(crew.dismiss)
        await crew.muster(at_least=_workers(address))
        yield ClusterLoad(crew)


@contextlib.asynccontextmanager
async def _place(address: Address) -> AsyncIterator[Any]:
    """What a Dask client connects to; a cluster that we start is stopped at the end."""
    if isinstance(address, Scheduler):
        yield address.url
        return
    cluster = _started_by_us(address)
    try:
        await _wait_for(cluster)
        yield cluster
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await cluster.close()


async def _wait_for(cluster: Any) -> None:
    """Return when ``cluster`` has started. Raises ClusterError."""
    try:
        async with asyncio.timeout(STARTED_WITHIN_S):
            await cluster
    except TimeoutError:
        raise ClusterError(f"The Dask cluster did not start within {STARTED_WITHIN_S:g} s.") from None
    except (OSError, RuntimeError) as error:
        reason = str(error).removeprefix("Cluster failed to start: ")
        raise ClusterError(f"The Dask cluster could not be started: {reason}") from error


def _started_by_us(address: LocalProcesses | SshHosts) -> Any:
    distributed = import_dask()
    if isinstance(address, LocalProcesses):
        return distributed.LocalCluster(
            n_workers=address.number,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            asynchronous=True,
            silence_logs=logging.CRITICAL,
            preload=["serving_ctl.cluster.unsignalled"],
        )
    try:
        import asyncssh  # noqa: F401 - Dask imports it late and says less
        import dask.config
    except ImportError:
        raise MissingExtra("--cluster ssh:…", "cluster") from None
    hosts = (address.hosts[0], *address.hosts)
    return distributed.SSHCluster(
        [host.name for host in hosts],
        connect_options=[_login(host) for host in hosts],
        worker_options={"nthreads": 1},
        scheduler_options={"port": 0, "dashboard": False},
        remote_python=dask.config.get(REMOTE_PYTHON, None),
        asynchronous=True,
    )


def _login(host: Host) -> dict[str, Any]:
    given = {"username": host.user, "port": host.port}
    return {name: value for name, value in given.items() if value is not None}


def _workers(address: Address) -> int:
    match address:
        case LocalProcesses(number):
            return number
        case SshHosts(hosts):
            return len(hosts)
    return 1
