"""The tasks of a Swarm service as values: state, node, address and what ended them, read from the API's words."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

ENDED_BADLY = {"failed", "rejected", "orphaned"}
ID_LENGTH = 12


@dataclass(frozen=True)
class Node:
    """A machine of the Swarm; its tasks are reached at ``address``. ``here`` when it is the engine we talk to."""

    id: str
    name: str
    address: str
    here: bool


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task: a container that Swarm runs, or ran, in a slot of the service."""

    slot: int
    id: str
    state: str
    """In Swarm's words: ``pending``, ``preparing``, ``starting``, ``running``, ``failed``, ``rejected``, …"""
    wanted: bool
    """Whether Swarm wants it to run; an ended task that another took the place of is not wanted."""
    node: str
    url: str
    """Base URL of its own port; empty while it has none, and behind the routing mesh."""
    since: float
    """When it came into this state, seconds since the epoch."""
    error: str = ""
    exit_code: int | None = None
    container: str = ""
    """Id of its container when that is on the engine we talk to."""

    @property
    def runs(self) -> bool:
        """Healthy and meant to be."""
        return self.wanted and self.state == "running"

    @property
    def failed(self) -> bool:
        """Ended, and not because Swarm was told to end it."""
        return self.state in ENDED_BADLY

    def order(self) -> tuple[int, bool, float]:
        """By slot, the wanted one first, then the newest."""
        return self.slot, not self.wanted, -self.since


@dataclass(frozen=True)
class Look:
    """A service at one moment; ``replicas`` is how many tasks it should have, ``update`` Swarm's word for an update."""

    replicas: int
    image: str
    mesh: bool
    update: str
    update_started: str
    tasks: tuple[Task, ...]

    @property
    def running(self) -> tuple[Task, ...]:
        """The tasks that serve."""
        return tuple(task for task in self.tasks if task.runs)

    @property
    def newest_failure(self) -> Task | None:
        """The task that failed last."""
        return max((task for task in self.tasks if task.failed), key=lambda task: task.since, default=None)

    @property
    def waiting(self) -> str:
        """What a task that does not run yet waits for, in Swarm's words."""
        for task in self.tasks:
            if task.wanted and not task.runs:
                return f"task {task.slot} {task.state}" + (f": {task.error}" if task.error else "")
        return ""

    def shown(self) -> tuple[Task, ...]:
        """What a table shows: the wanted tasks, and of each slot the one that failed last."""
        failures = {task.slot: task for task in reversed(self.tasks) if task.failed and not task.wanted}
        return tuple(task for task in self.tasks if task.wanted or failures.get(task.slot) is task)


def read_task(attributes: Mapping[str, Any], nodes: Mapping[str, Node]) -> Task:
    """A task of the API's list."""
    status = attributes["Status"]
    container = status.get("ContainerStatus") or {}
    node = nodes.get(attributes.get("NodeID", ""))
    ports = [port["PublishedPort"] for port in (status.get("PortStatus") or {}).get("Ports") or []]
    wanted = attributes["DesiredState"] in {"running", "ready", "accepted"}
    failed = status["State"] in ENDED_BADLY
    return Task(
        slot=attributes.get("Slot", 0),
        id=attributes["ID"][:ID_LENGTH],
        state=status["State"],
        wanted=wanted and not failed,
        node=node.name if node else "",
        url=f"http://{node.address}:{ports[0]}" if ports and node and node.address else "",
        since=since_epoch(status["Timestamp"]),
        error=status.get("Err", ""),
        exit_code=container.get("ExitCode") if failed else None,
        container=container.get("ContainerID", "") if node and node.here else "",
    )


def since_epoch(text: str) -> float:
    """Swarm's time, ISO 8601 with nanoseconds, in seconds since the epoch."""
    seconds = datetime.datetime.fromisoformat(f"{text[:19]}+00:00").timestamp()
    fraction = text[19:].rstrip("Z")
    return seconds + (float(f"0{fraction}") if fraction.startswith(".") else 0.0)
