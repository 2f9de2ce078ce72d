"""What ``tfserve-tui doctor`` looks at before anything is started: each finding one sentence and, if need be, one fix.

Start-up logs and exit codes are explained in ``doctor.py``. Nothing is changed or fetched here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from serving_ctl.config import FLASK, TF_SERVING, Settings, config_file
from serving_ctl.errors import ServerStartError, TfServeError
from serving_ctl.events import ServerChanged
from serving_ctl.servers.choose import choose_serving, own_flags
from serving_ctl.servers.chosen_flags import batching_maximum, check_flags, flags_in_force
from serving_ctl.servers.configs import KINDS, read
from serving_ctl.servers.docker import Engine, EngineError
from serving_ctl.servers.ports import require_free
from serving_ctl.servers.spec import model_folder
from serving_ctl.servers.state import ALIVE
from serving_ctl.servers.swarm_engine import OPEN_PORTS, require_swarm

SPARE_FILES = 256  # R13: descriptors beside the connections of a load worker
LOW_DISK_BYTES = 500_000_000
CPU_INFO = Path("/proc/cpuinfo")
LOCAL_MODULES = ("tensorflow", "flask", "gunicorn", "orjson")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at; ``mark`` is ``ok``, ``warn`` (bars one way to serve) or ``fail`` (a start would fail)."""

    key: str
    mark: str
    text: str
    fix: str = ""


async def examine(
    settings: Settings, engine: Engine, folder: Path, current: Callable[[str], ServerChanged], clients: int, batch: int
) -> tuple[Finding, ...]:
    """Look at everything a start needs; ``clients`` and ``batch`` are the largest numbers of the presets."""
    return (
        await _docker(settings, engine),
        *(await _swarm(settings, engine)),
        *(await _flags(settings, engine, folder, batch)),
        _native(settings),
        _local(),
        _processor(),
        _model(settings),
        *(_checked(f"config {name}", partial(_config_text, name)) for name in KINDS),
        *(_port(settings, current(server)) for server in (TF_SERVING, FLASK)),
        _open_files(clients),
        *_disks(settings, folder),
        *_last_failures(current),
    )


async def _docker(settings: Settings, engine: Engine) -> Finding:
    image = settings.tf_serving.image
    try:
        described = await engine.call(lambda client: client.version())
        digest = await engine.image_digest(image)
    except EngineError as error:
        return Finding(key="docker", mark="warn", text=str(error))
    engine_text = f"Docker {described['Version']} on {described['Os']}/{described['Arch']}"
    if described["Arch"] != "amd64":
        text = f"{engine_text}; TensorFlow Serving has images for amd64 only"
        return Finding(key="docker", mark="warn", text=text, fix='runtime = "embedded"')
    if digest is None:
        return Finding(
            key="docker", mark="warn", text=f"{engine_text}, without {image}", fix=f"docker pull {image}, or --pull"
        )
    return Finding(key="docker", mark="ok", text=f"{engine_text}, {image} ({digest})")


async def _swarm(settings: Settings, engine: Engine) -> tuple[Finding, ...]:
    """Nothing unless tf-serving is to run as a Swarm service."""
    serving = settings.tf_serving
    if serving.runtime != "swarm":
        return ()
    try:
        await require_swarm(engine, mesh=serving.publish == "mesh")
    except ServerStartError as error:
        return (Finding(key="swarm", mark="fail", text=str(error)),)
    way = "through the routing mesh" if serving.publish == "mesh" else "each task on a port of its own"
    text = f"this engine is a Swarm manager; {way}. {OPEN_PORTS}"
    return (Finding(key="swarm", mark="warn", text=text, fix="let a firewall decide who reaches the ports"),)


async def _flags(settings: Settings, engine: Engine, folder: Path, batch: int) -> tuple[Finding, ...]:
    """Nothing when no flag is set; else whether the server that would start takes them, and the largest batch."""
    serving = settings.tf_serving
    flags = flags_in_force(serving)
    if not flags or serving.runtime == "external":
        return ()
    try:
        choice = await choose_serving(settings, engine, serving.runtime, pull=False)
        check_flags(serving, await own_flags(settings, engine, choice.runtime, folder))
        most = batching_maximum(serving)
    except TfServeError as error:
        return (Finding(key="flags", mark="fail", text=str(error)),)
    found = Finding(key="flags", mark="ok", text=f"{choice.runtime} takes {', '.join(sorted(flags))}")
    if most is None or batch <= most:
        return (found,)
    text = f"the largest batch of the presets is {batch}, with batching the server takes at most {most}"
    fix = f"max_batch_size {{ value: {batch} }} in the batching file, or measure smaller batches"
    return found, Finding(key="batching", mark="warn", text=text, fix=fix)


def _native(settings: Settings) -> Finding:
    binary = settings.tf_serving.binary
    path = shutil.which(binary)
    if path:
        return Finding(key="native", mark="ok", text=path)
    return Finding(key="native", mark="warn", text=f"no {binary} on PATH", fix="only runtime native needs it")


def _local() -> Finding:
    missing = [name for name in LOCAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        fix = "pip install 'tfserve-tui[local]' for the Flask server and the embedded one"
        return Finding(key="local", mark="fail", text=f"not installed: {', '.join(missing)}", fix=fix)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LOCAL_MODULES]
    return Finding(key="local", mark="ok", text=", ".join(versions))


def _processor() -> Finding:
    machine = platform.machine()
    if machine == "x86_64" and CPU_INFO.exists() and " avx " not in CPU_INFO.read_text(encoding="utf-8"):
        text = "this processor has no AVX, which TensorFlow Serving and TensorFlow are built for"
        return Finding(key="processor", mark="fail", text=text, fix='measure another machine: runtime = "external"')
    note = "" if machine in {"x86_64", "AMD64"} else ": TensorFlow Serving has no image for it, embedded runs"
    return Finding(key="processor", mark="warn" if note else "ok", text=f"{machine}{note}")


def _checked(key: str, look: Callable[[], str]) -> Finding:
    """``ok`` with what ``look`` says, or ``fail`` with the error for people that it raises."""
    try:
        return Finding(key=key, mark="ok", text=look())
    except TfServeError as error:
        return Finding(key=key, mark="fail", text=str(error))


def _config_text(name: str) -> str:
    return f"{config_file(name)} is a valid {read(name).DESCRIPTOR.name}"


def _model(settings: Settings) -> Finding:
    if all(settings.server(target).runtime == "external" for target in settings.targets):
        return Finding(key="model", mark="ok", text="none is needed here: somebody else runs all that is measured")
    return _checked("model", lambda: f"{model_folder(TF_SERVING, settings)} holds a SavedModel")


def _port(settings: Settings, current: ServerChanged) -> Finding:
    table = settings.tf_serving if current.server == TF_SERVING else settings.flask
    elsewhere = f"{current.server} address"
    if current.state in ALIVE:
        if current.runtime in {"external", "swarm"}:
            text = f"{current.server} is at {', '.join(current.addresses) or current.url} ({current.label})"
            return Finding(key=elsewhere, mark="ok", text=text)
        port = urlsplit(current.url).port
        return Finding(key=f"port {port}", mark="ok", text=f"{current.server} listens here ({current.label})")
    if table.runtime == "external":
        return Finding(key=elsewhere, mark="ok", text=f"{', '.join(table.urls)}, which somebody else runs")
    if table.runtime == "swarm" and table.publish == "host":
        return Finding(key=elsewhere, mark="ok", text="Swarm gives each task a port of its own")
    key = f"port {table.port}"
    try:
        require_free(current.server, table.port)
    except ServerStartError as error:
        return Finding(key=key, mark="fail", text=str(error))
    return Finding(key=key, mark="ok", text=f"free for {current.server}")


def _open_files(clients: int) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return Finding(key="open files", mark="ok", text=f"{needed} needed for {clients} clients, {hard} allowed")
    text = f"{clients} clients need {needed} open files, {hard} are allowed"
    return Finding(key="open files", mark="fail", text=text, fix=f"raise the hard limit: ulimit -Hn {needed}")


def _disks(settings: Settings, folder: Path) -> Iterator[Finding]:
    places = {"state folder": folder, "model folder": Path(settings.model.path).expanduser().absolute()}
    for name, path in places.items():
        existing = next(one for one in (path, *path.parents) if one.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 1e9:.1f} GB free at {path}"
        low = free < LOW_DISK_BYTES
        yield Finding(key=name, mark="warn" if low else "ok", text=text, fix="free some space" if low else "")
        if not os.access(existing, os.W_OK):
            yield Finding(key=name, mark="fail" if path == folder else "warn", text=f"{existing} is not writable")


def _last_failures(current: Callable[[str], ServerChanged]) -> Iterator[Finding]:
    for server in (TF_SERVING, FLASK):
        known = current(server)
        if known.state.value in {"failed", "degraded"}:
            yield Finding(key=server, mark="fail", text=known.detail)
