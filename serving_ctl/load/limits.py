"""What the system must allow before many connections are opened (R13), and that a load process dies with its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from serving_ctl.errors import LoadError

SPARE_FILES = 256
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PR_SET_PDEATHSIG = 1


def raise_file_limit(clients: int) -> None:
    """Raise RLIMIT_NOFILE's soft limit to ``clients`` + 256. Raises LoadError when the hard limit is lower."""
    needed = clients + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(
            f"{clients} clients in one process need {needed} open files, but the hard limit is {hard}; "
            "use fewer clients or more --processes, or raise it (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def check_ports(clients: int) -> None:
    """Raise LoadError when there are fewer ephemeral ports than ``clients`` (known on Linux only)."""
    ports = ephemeral_ports()
    if ports is not None and len(ports) < clients:
        raise LoadError(
            f"{clients} clients need as many ports, but the system has {len(ports)} ({ports[0]}–{ports[-1]}); "
            "use fewer clients or widen net.ipv4.ip_local_port_range"
        )


def ephemeral_ports() -> range | None:
    """The ports that connects are made from, for each address of a server; None where it is not known."""
    if not _PORT_RANGE.exists():
        return None
    low, high = map(int, _PORT_RANGE.read_text().split())
    return range(low, high + 1)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends (Linux; elsewhere the end of stdin does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            # It ended before the kernel was asked.
            os._exit(1)
