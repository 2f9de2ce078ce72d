"""What to run for the settings: model folder, flags, environment and argument lists. Nothing is started here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import serving_ctl
from serving_ctl.config import FLASK, TF_SERVING, Settings, gunicorn_config
from serving_ctl.errors import MissingExtra, ServerStartError
from serving_ctl.servers.chosen_flags import flag_arguments
from serving_ctl.servers.configs import MODELS, MONITORING
from serving_ctl.servers.ports import LOOPBACK
from serving_ctl.servers.record import Record, StateFiles

MARK_VARIABLE = "TFSERVE_TUI_SERVER"
# Longest path of a Unix socket: 104 bytes on macOS, 108 on Linux, with the closing zero.
SOCKET_PATH_LIMIT = 103
EMBEDDED_LABEL = "embedded (TF-Serving-compatible)"


@dataclass(frozen=True)
class ProcessSpec:
    """A server as a process of this machine; ``record`` has no pid yet."""

    record: Record
    argv: tuple[str, ...]
    env: dict[str, str]
    port: int


def model_folder(server: str, settings: Settings) -> Path:
    """The model's base folder, absolute; raises ServerStartError when there is nothing in it to serve."""
    folder = Path(settings.model.path).expanduser().absolute()
    if not folder.is_dir():
        raise ServerStartError(
            f"{server}: model folder {folder} does not exist; export one with textcnn-export, or set [model] path."
        )
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise ServerStartError(f"{server}: model folder {folder} cannot be read: {error.strerror}.") from None
    versions = [name for name in names if name.isdecimal()]
    if not versions:
        found = f" (it holds {', '.join(names[:4])})" if names else ""
        raise ServerStartError(
            f"{server}: no numeric version folder in {folder}{found}; a version is a folder such as {folder.name}/1."
        )
    newest = folder / max(versions, key=int)
    if not any((newest / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise ServerStartError(f"{server}: {newest} has no saved_model.pb; export the model again.")
    return folder


def require_readable_by_all(folder: Path) -> None:
    """Raise ServerStartError when the container's user could not read the newest version in ``folder``."""
    newest = folder / max((entry.name for entry in folder.iterdir() if entry.name.isdecimal()), key=int)
    for path, wanted in ((folder, 0o5), (newest, 0o5), (newest / "saved_model.pb", 0o4)):
        if path.exists() and path.stat().st_mode & wanted != wanted:
            raise ServerStartError(
                f"tf-serving: {path} is not readable for the container's user; run: chmod -R a+rX {folder}"
            )


def serving_flags(settings: Settings, config_folder: str) -> list[str]:
    """The flags of tensorflow_model_server that every runtime shares; ``config_folder`` as the server sees it."""
    serving = settings.tf_serving
    optional = {
        "rest_api_num_threads": serving.rest_threads,
        "tensorflow_intra_op_parallelism": serving.intra_op_threads,
        "tensorflow_inter_op_parallelism": serving.inter_op_threads,
    }
    return [
        f"--model_config_file={config_folder}/{MODELS}",
        f"--monitoring_config_file={config_folder}/{MONITORING}",
        f"--rest_api_timeout_in_ms={round(settings.bench.timeout_s * 1000)}",
        *(f"--{name}={value}" for name, value in optional.items() if value),
        *flag_arguments(serving, config_folder),
    ]


def shared_environment(settings: Settings) -> dict[str, str]:
    """What both servers get alike (R23)."""
    return {"TF_ENABLE_ONEDNN_OPTS": str(int(settings.bench.onednn))}


def asked(settings: Settings, server: str, runtime: str) -> dict[str, str]:
    """The settings that change what a server is or measures, in the words of the settings file."""
    values: dict[str, object] = {"model name": settings.model_name(server), "runtime": runtime}
    if runtime == "external":
        return _texts(values | {"url": " ".join(settings.server(server).urls)})
    table = settings.tf_serving if server == TF_SERVING else settings.flask
    values |= {
        "model path": Path(settings.model.path).expanduser().absolute(),
        "port": table.port,
        "intra-op-threads": settings.tf_serving.intra_op_threads,
        "inter-op-threads": settings.tf_serving.inter_op_threads,
        "onednn": settings.bench.onednn,
    }
    if server == TF_SERVING:
        values |= {"rest-threads": settings.tf_serving.rest_threads, "timeout-s": settings.bench.timeout_s}
        values |= {"flags": " ".join(flag_arguments(settings.tf_serving, "…")) or "none"}
    else:
        values |= {"workers": settings.flask.workers, "worker-class": settings.flask.worker_class}
        values |= {"threads": settings.flask.threads, "timeout-s": settings.flask.timeout_s}
    serving = settings.tf_serving
    if runtime == "swarm":
        values |= {"image": serving.image, "publish": serving.publish, "replicas": serving.replicas}
        values |= {"memory": serving.memory or "no limit"}
    if runtime == "docker":
        values |= {"image": serving.image, "network": serving.network}
        values |= {"memory": serving.memory or "no limit", "cpuset": serving.cpuset or "all cores"}
    return _texts(values)


def embedded_spec(settings: Settings, files: StateFiles, model: Path) -> ProcessSpec:
    """Our TF-Serving-compatible server; raises MissingExtra without TensorFlow."""
    require_modules("The embedded server", "tensorflow", "orjson")
    argv = (sys.executable, "-m", "serving_ctl.embedded", *_native_flags(settings, files))
    version = f"TensorFlow {importlib.metadata.version('tensorflow')}"
    return _serving_spec(settings, files, model, "embedded", EMBEDDED_LABEL, version, argv)


def native_spec(settings: Settings, files: StateFiles, model: Path, binary: str, version: str) -> ProcessSpec:
    """``binary``, a tensorflow_model_server of this machine. It listens on every interface: it has no flag for that."""
    argv = (binary, "--port=0", *_native_flags(settings, files))
    return _serving_spec(settings, files, model, "native", "native", version, argv)


def gunicorn_spec(settings: Settings, files: StateFiles, model: Path) -> ProcessSpec:
    """The Flask baseline; raises MissingExtra without gunicorn, Flask or TensorFlow."""
    require_modules("The Flask server", "gunicorn", "flask", "orjson", "tensorflow")
    flask = settings.flask
    threads = ("--threads", str(flask.threads)) if flask.worker_class == "gthread" else ()
    socket_path = str(files.control_socket)
    control = ("--control-socket", socket_path) if len(socket_path) <= SOCKET_PATH_LIMIT else ("--no-control-socket",)
    argv = (
        *(sys.executable, "-m", "gunicorn", "-c", str(gunicorn_config())),
        *("-w", str(flask.workers), "-k", flask.worker_class, *threads),
        *("-b", f"{LOOPBACK}:{flask.port}", "--timeout", str(flask.timeout_s), "--backlog", "2048"),
        *(*control, "flask_serving:app"),
    )
    threads_label = f" × {flask.threads} threads" if threads else ""
    record = Record(
        server=FLASK,
        runtime="gunicorn",
        label=f"gunicorn {flask.workers} × {flask.worker_class}{threads_label}",
        url=f"http://{LOOPBACK}:{flask.port}",
        version=f"gunicorn {importlib.metadata.version('gunicorn')}",
        model=str(model),
        asked=asked(settings, FLASK, "gunicorn"),
    )
    return ProcessSpec(
        record, argv, _environment(files, settings) | _flask_environment(settings, files, model), flask.port
    )


def require_modules(what: str, *modules: str) -> None:
    """Raise MissingExtra naming ``what`` unless all ``modules`` are installed; none is imported."""
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise MissingExtra(what)


def _serving_spec(
    settings: Settings, files: StateFiles, model: Path, runtime: str, label: str, version: str, argv: tuple[str, ...]
) -> ProcessSpec:
    port = settings.tf_serving.port
    record = Record(
        server=TF_SERVING,
        runtime=runtime,
        label=label,
        url=f"http://{LOOPBACK}:{port}",
        version=version,
        model=str(model),
        asked=asked(settings, TF_SERVING, runtime),
    )
    return ProcessSpec(record, argv, _environment(files, settings), port)


def _native_flags(settings: Settings, files: StateFiles) -> list[str]:
    return [f"--rest_api_port={settings.tf_serving.port}", *serving_flags(settings, str(files.config))]


def _environment(files: StateFiles, settings: Settings) -> dict[str, str]:
    # The servers run in the state folder, so a checkout that is not installed must be found by path.
    here = str(Path(serving_ctl.__file__).parents[1])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {MARK_VARIABLE: files.mark, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return dict(os.environ) | ours | shared_environment(settings)


def _flask_environment(settings: Settings, files: StateFiles, model: Path) -> dict[str, str]:
    threads = {
        "TFSERVE_INTRA_OP_THREADS": settings.tf_serving.intra_op_threads,
        "TFSERVE_INTER_OP_THREADS": settings.tf_serving.inter_op_threads,
    }
    return {
        "TFSERVE_MODEL_DIR": str(model),
        "TFSERVE_MODEL_NAME": settings.model.name,
        "TFSERVE_WORKER_COUNTS": str(files.worker_counts),
        **{name: str(value) for name, value in threads.items() if value},
    }


def _texts(values: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
