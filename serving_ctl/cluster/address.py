"""What ``--cluster`` may say: a scheduler's address, hosts to log in to, or a number of processes on this machine."""

from __future__ import annotations

import re

import msgspec

from serving_ctl.errors import ConfigError

SCHEMES = ("tcp", "tls")
MOST_LOCAL = 64
_HINT = "write tcp://HOST:8786, tls://HOST:8786, ssh:HOST,HOST or local:N"
_HOST = re.compile(r"(?:(?P<user>[^@\s,:]+)@)?(?P<name>[^@\s,:/]+)(?::(?P<port>\d+))?")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A machine to log in to; what is None is left to the user's ssh config."""

    name: str
    user: str | None = None
    port: int | None = None


class Scheduler(msgspec.Struct, frozen=True):
    """A scheduler that runs already."""

    url: str


class SshHosts(msgspec.Struct, frozen=True):
    """A worker on each host, the scheduler on the first."""

    hosts: tuple[Host, ...]


class LocalProcesses(msgspec.Struct, frozen=True):
    """Worker processes on this machine, for trying it."""

    number: int


Address = Scheduler | SshHosts | LocalProcesses


def parse_address(text: str) -> Address:
    """The cluster that ``text`` names. Raises ConfigError."""
    kind, _, rest = text.partition(":")
    if kind in SCHEMES and re.fullmatch(r"//[^\s/]+:\d+", rest):
        return Scheduler(text)
    if kind == "ssh" and rest:
        return SshHosts(tuple(_host(text, name) for name in rest.split(",")))
    if kind == "local" and rest.isdecimal() and 1 <= int(rest) <= MOST_LOCAL:
        return LocalProcesses(int(rest))
    if kind == "local":
        raise ConfigError(f"cluster {text!r}: write local:N with N from 1 to {MOST_LOCAL}.")
    raise ConfigError(f"cluster {text!r} is not understood; {_HINT}.")


def _host(text: str, name: str) -> Host:
    found = _HOST.fullmatch(name)
    if not found:
        raise ConfigError(f"cluster {text!r}: {name!r} is no host; write ssh:[USER@]HOST[:PORT],…")
    port = found["port"]
    return Host(name=found["name"], user=found["user"], port=int(port) if port else None)
