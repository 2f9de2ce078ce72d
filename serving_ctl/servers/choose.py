"""Which runtime a start uses, and why, in one line. ``auto`` never pulls an image unasked."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving_ctl.config import FLASK, TF_SERVING, Settings
from serving_ctl.errors import ConfigError, ServerStartError
from serving_ctl.servers.chosen_flags import check_flags, flag_files, flags_in_force
from serving_ctl.servers.configs import write_effective
from serving_ctl.servers.container import ServerContainer
from serving_ctl.servers.container_spec import MODELS_MOUNT, container_spec
from serving_ctl.servers.docker import Engine, EngineError, image_absent, image_help, read_version
from serving_ctl.servers.external import ExternalServer, external_record
from serving_ctl.servers.flags import Flag, known_flags, parse_help
from serving_ctl.servers.process import ServerProcess
from serving_ctl.servers.pull import pull_image
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.remote import reach
from serving_ctl.servers.running import Running
from serving_ctl.servers.spec import embedded_spec, gunicorn_spec, model_folder, native_spec
from serving_ctl.servers.swarm import SwarmService
from serving_ctl.servers.swarm_engine import require_swarm
from serving_ctl.servers.swarm_spec import ServiceSpec, service_spec
from serving_ctl.servers.workers import GunicornServer

RUNTIMES = {"auto", "docker", "native", "embedded", "external", "swarm", "gunicorn"}
IN_CONTAINERS = {"docker", "swarm"}
ANSWER_LIMIT_S = 15.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """A runtime and, for ``auto``, the reason as one line."""

    runtime: str
    why: str = ""


def runtime_wanted(settings: Settings, server: str, runtime: str | None) -> str:
    """The runtime asked for, by argument or settings; raises ConfigError for one that ``server`` does not have."""
    table = settings.server(server)
    own = {TF_SERVING: RUNTIMES - {"gunicorn"}, FLASK: {"gunicorn", "external"}}.get(server, {"external"})
    if runtime is not None and runtime not in own:
        raise ConfigError(f"{server} has no runtime {runtime!r}; it has: {', '.join(sorted(own))}.")
    wanted = runtime or table.runtime
    if wanted == "external" and not table.urls:
        raise ConfigError(f'[{server}] runtime = "external" needs url = "http://…".')
    return wanted


async def choose_serving(settings: Settings, engine: Engine, wanted: str, *, pull: bool) -> Choice:
    """Resolve ``auto``: docker when the engine has the image (or may pull it), else native, else embedded."""
    if wanted != "auto":
        return Choice(wanted)
    serving = settings.tf_serving
    try:
        present = await engine.has_image(serving.image)
    except EngineError as error:
        no_docker = str(error).split(";", 1)[0].rstrip(".")
    else:
        if present:
            return Choice("docker", f"auto: docker, which has {serving.image}")
        if pull:
            return Choice("docker", f"auto: docker, with {serving.image} pulled")
        no_docker = f"Docker has no image {serving.image} (--pull fetches it)"
    if shutil.which(serving.binary):
        return Choice("native", f"auto: native, for {no_docker}")
    return Choice("embedded", f"auto: embedded, for {no_docker} and there is no {serving.binary} on PATH")


async def launch(
    settings: Settings, files: StateFiles, engine: Engine, runtime: str, *, pull: bool, say: Say
) -> Running:
    """Start as ``runtime``; not ready yet. Raises ServerStartError, MissingExtra or ConfigError, leaving nothing."""
    if runtime == "external":
        return ExternalServer(external_record(settings, files.server))
    model = model_folder(files.server, settings)
    if runtime == "gunicorn":
        return GunicornServer.start(files, gunicorn_spec(settings, files, model))
    if runtime == "swarm":
        return await SwarmService.deploy(engine, files, await ready_for_swarm(settings, files, engine, pull, say))
    if runtime == "docker":
        await _have_image(settings.tf_serving.image, engine, pull=pull, say=say)
    await _prepare_checked(settings, files, engine, model, runtime)
    if runtime == "docker":
        way = reach(await engine.host(), settings.tf_serving)
        return await ServerContainer.start(engine, files, container_spec(settings, files, model, way))
    if runtime == "native":
        binary = _find_binary(settings.tf_serving.binary)
        version = read_version(await _output(binary, "--version"))
        return ServerProcess.start(files, native_spec(settings, files, model, binary, version))
    return ServerProcess.start(files, embedded_spec(settings, files, model))


async def ready_for_swarm(settings: Settings, files: StateFiles, engine: Engine, pull: bool, say: Say) -> ServiceSpec:
    """The service to deploy or update to, with its image and effective config there. Raises as ``launch`` does."""
    await require_swarm(engine, mesh=settings.tf_serving.publish == "mesh")
    model = model_folder(files.server, settings)
    spec = service_spec(settings, files, model, await engine.host())
    await _have_image(settings.tf_serving.image, engine, pull=pull, say=say)
    await _prepare_checked(settings, files, engine, model, "swarm")
    return spec


async def _prepare_checked(settings: Settings, files: StateFiles, engine: Engine, model: Path, runtime: str) -> None:
    """As ``prepare``, when the server takes the flags. Raises ConfigError."""
    if flags_in_force(settings.tf_serving):
        check_flags(settings.tf_serving, await own_flags(settings, engine, runtime, files.folder))
    prepare(settings, files, model, runtime)


def prepare(settings: Settings, files: StateFiles, model: Path, runtime: str) -> None:
    """Write the effective config folder of a start as ``runtime``; raises ConfigError."""
    base_path = f"{MODELS_MOUNT}/{settings.model.name}" if runtime in IN_CONTAINERS else str(model)
    write_effective(files.config, settings.model.name, base_path, flag_files(settings.tf_serving))


async def own_flags(settings: Settings, engine: Engine, runtime: str, folder: Path) -> dict[str, Flag]:
    """The flags that the server of ``runtime`` says it has; those of 2.20 where it cannot be asked.

    Raises ServerStartError.
    """
    text = ""
    if runtime in IN_CONTAINERS:
        text = await engine.call(lambda client: image_help(client, settings.tf_serving.image, folder))
    elif runtime == "native":
        text = await _output(_find_binary(settings.tf_serving.binary), "--help")
    return parse_help(text) or known_flags()


async def adopt(files: StateFiles, engine: Engine, record: Record) -> Running | None:
    """What still runs of ``record``, or None, with the record removed and left-overs gone."""
    found: Running | None
    if record.service:
        found = await SwarmService.adopt(engine, files, record)
    elif record.container:
        found = await ServerContainer.adopt(engine, files, record)
    else:
        kind = GunicornServer if record.runtime == "gunicorn" else ServerProcess
        found = kind.adopt(files, record)
    if found is None:
        files.forget()
    return found


async def _have_image(image: str, engine: Engine, *, pull: bool, say: Say) -> None:
    if await engine.has_image(image):
        return
    if not pull:
        raise image_absent(image)
    await pull_image(engine, image, say)


def _find_binary(name: str) -> str:
    path = shutil.which(str(Path(name).expanduser()))
    if path is None:
        raise ServerStartError(
            f'{TF_SERVING}: no program {name} on PATH; set [tf-serving] binary, or use runtime = "embedded".'
        )
    return str(Path(path).absolute())


async def _output(binary: str, word: str) -> str:
    """What ``binary`` says to ``--version`` or ``--help``; nothing when it takes too long."""
    try:
        asking = await asyncio.create_subprocess_exec(
            binary,
            word,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise ServerStartError(f"{TF_SERVING}: {binary} cannot be run: {error.strerror}.") from None
    try:
        output, _ = await asyncio.wait_for(asking.communicate(), ANSWER_LIMIT_S)
    except TimeoutError:
        return ""
    finally:
        if asking.returncode is None:
            asking.kill()
            await asking.wait()
    return output.decode(errors="replace")
