"""Whether a Docker engine can run a Swarm service: in one sentence why not, and what to do. Nothing is changed here."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.docker import Engine

IP_VS = Path("/proc/net/ip_vs")
MODULES = Path("/lib/modules")
MODULE_LISTS = ("modules.dep", "modules.builtin")
OPEN_PORTS = "Swarm publishes on every address of the machine: it cannot bind 127.0.0.1"


async def require_swarm(engine: Engine, *, mesh: bool) -> None:
    """Raise ServerStartError when ``engine`` is no Swarm manager, or cannot have the routing mesh that is wanted."""
    info = await engine.call(lambda client: client.info())
    if problem := swarm_problem(info) or (mesh_problem(info) if mesh else ""):
        raise ServerStartError(f"{TF_SERVING}: {problem}")


def swarm_problem(info: Mapping[str, Any]) -> str:
    """Why the engine, by its own ``info``, is no Swarm manager, and what to do; empty when it is one."""
    swarm = info["Swarm"]
    match swarm["LocalNodeState"]:
        case "active" if swarm["ControlAvailable"]:
            return ""
        case "active":
            return "this Docker engine is a worker of its Swarm; set DOCKER_HOST to a manager."
        case "locked":
            return "this Docker engine's Swarm is locked; run: docker swarm unlock"
        case "inactive":
            return "this Docker engine is in no Swarm; make it one of a single node: docker swarm init"
    return (
        f"this Docker engine's Swarm is in state {swarm['LocalNodeState']}; {swarm.get('Error') or 'see docker info'}"
    )


def mesh_problem(info: Mapping[str, Any]) -> str:
    """Why the routing mesh cannot work on the engine's kernel; empty when it can, or when that is not to be seen."""
    if info.get("KernelVersion") != platform.release() or IP_VS.exists():
        return ""
    folder = MODULES / platform.release()
    lists = [folder / name for name in MODULE_LISTS]
    if any("/ip_vs.ko" in path.read_text(encoding="utf-8") for path in lists if path.exists()):
        return ""
    return (
        f"the kernel {platform.release()} has no ip_vs, which Swarm's routing mesh needs;"
        ' set [tf-serving] publish = "host".'
    )
