"""Settings and where files lie. Strict: an unknown key is an error that names file, key and the nearest known key.

The docstring under a setting is its documentation. How TOML becomes values, and wrong keys become sentences, is in
``toml_tables.py``; presets are read in ``bench/presets.py``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
import platformdirs

from serving_ctl.errors import ConfigError
from serving_ctl.toml_tables import convert_table as convert_table  # noqa: PLC0414 - also a name of this module
from serving_ctl.toml_tables import nearest as nearest  # noqa: PLC0414 - also a name of this module
from serving_ctl.toml_tables import read_toml as read_toml  # noqa: PLC0414 - also a name of this module

APP = "tfserve-tui"

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Threads = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Memory = Annotated[str, msgspec.Meta(pattern="^([0-9]+[bkmg]?)?$")]
Cores = Annotated[str, msgspec.Meta(pattern="^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$")]

TF_SERVING = "tf-serving"
FLASK = "flask"
ENDPOINT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}")
TAKEN_NAMES = {TF_SERVING, FLASK, "embedded", "history", "tfserve-tui"}
"""What no endpoint may be called: servers, what results call them, and names of our own files and log lines."""

TfServingRuntime = Literal["auto", "docker", "native", "embedded", "external", "swarm"]
FlaskRuntime = Literal["gunicorn", "external"]


class TomlTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """A TOML table: kebab-case keys, no unknown ones."""


class ModelSettings(TomlTable, frozen=True):
    """[model]: the SavedModel that both servers serve."""

    name: str = "text_cnn"
    """Servable name in the REST path."""
    path: str = "release/text_cnn"
    """Base folder with one numeric folder a version; relative to the folder ``tfserve-tui`` is started in."""
    signature: str = ""
    """Signature to measure; empty takes ``serving_default``, else the first predict signature."""
    requests: str = ""
    """File of request instances, one JSON object a line; empty takes the model's ``assets.extra/requests.jsonl``, else
    values are invented from the signature."""
    free_dimension: AtLeastOne = 8
    """Invented values: the size of a free dimension (-1 in the signature) that ``dimensions`` does not name."""
    dimensions: dict[str, tuple[AtLeastOne, ...]] = {}
    """Invented values: sizes of an input's free dimensions in order, the batch not among them: ``{ ids = [128] }``."""
    integer_bound: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Invented values: whole numbers lie below this; 0 takes the lines of the model's vocabulary asset, else 100."""


def base_urls(url: str | tuple[str, ...]) -> tuple[str, ...]:
    """The addresses of a setting that is one URL or a list of them, without slashes at their ends."""
    given = (url,) if isinstance(url, str) else url
    return tuple(one.rstrip("/") for one in given if one)


def url_problem(table: str, urls: tuple[str, ...]) -> str | None:
    """Why the addresses of ``table`` cannot be used; None when they can."""
    for url in urls:
        if re.match(r"[^/]*//[^/]*@", url):  # nor is it repeated here
            return (
                f"{table} url: a password would be shown and kept with runs; put it in headers = {{ … }}, as env:NAME."
            )
        if not _is_base_url(url):
            return f'{table} url = "{url}" is not a base URL such as http://HOST:PORT or https://HOST/prefix.'
    if len({url.partition(":")[0] for url in urls}) > 1:
        return f"{table} url: addresses that share a load are all http:// or all https://."
    return None


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return fits and not re.search(r"[?#\s]", url)


class TfServingSettings(TomlTable, frozen=True):
    """[tf-serving]: how TensorFlow Serving, or what stands in for it, is run."""

    runtime: TfServingRuntime = "auto"
    """``auto`` takes docker if the engine answers and has the image, else native, else embedded."""
    image: str = "tensorflow/serving:2.20.0"
    """Image for docker; pinned, never ``latest``."""
    binary: str = "tensorflow_model_server"
    """Program for native: a name on PATH or a path."""
    url: str | tuple[str, ...] = ""
    """Base URL for external, for example ``http://10.0.0.5:8501`` or ``https://host/prefix``; of a list, the addresses
    share the load."""
    headers: dict[str, str] = {}
    """External: headers of every request; ``{ Authorization = "env:NAME" }`` takes a value from the environment."""
    port: Port = 8501
    """REST port on 127.0.0.1."""
    network: Literal["published", "host"] = "published"
    """Docker only: ``host`` avoids the published port's userland proxy (about 20 % of latency), Linux only."""
    memory: Memory = ""
    """Docker only: memory limit, for example ``2g``; a large batch needs over 1 GB. Empty sets none."""
    cpuset: Cores = ""
    """Docker only: cores the container may use, for example ``0-1``; empty allows all."""
    address: str = ""
    """Docker on another machine: address its REST port is published on and reached at. Empty takes the engine's own
    host (``tcp://``), or an SSH tunnel (``ssh://``)."""
    replicas: AtLeastOne = 1
    """Swarm only: how many tasks serve."""
    publish: Literal["host", "mesh"] = "host"
    """Swarm only: ``host`` gives each task a port of its own and the load engine balances them; ``mesh`` publishes
    ``port`` on every node through Swarm's routing mesh, which needs the kernel module ip_vs."""
    update_order: Literal["start-first", "stop-first"] = "start-first"
    """Swarm only: in a rolling update, whether a new task is healthy before an old one ends."""
    update_parallelism: AtLeastOne = 1
    """Swarm only: how many tasks a rolling update replaces at a time."""
    health_interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 5.0
    """Swarm only: seconds between two health checks of a task, and until its first, before which it counts as
    starting."""
    rest_threads: Threads = 0
    """``--rest_api_num_threads``; 0 leaves the server's default (4 × cores). 1 is refused: the real server hangs."""
    intra_op_threads: Threads = 0
    """TensorFlow's intra-op threads on both servers; 0 is TensorFlow's default."""
    inter_op_threads: Threads = 0
    """TensorFlow's inter-op threads on both servers; 0 is TensorFlow's default."""
    batching: bool = False
    """Server-side batching with the numbers of ``batching.config``; a request's batch above its maximum is refused."""
    start_timeout_s: Seconds = 120.0
    """How long a start may take until the server answers a prediction."""
    flags: dict[str, bool | int | float | str] = {}
    """More flags of ``tensorflow_model_server``, by name; a ``…_file`` is copied to where the server sees it."""

    @property
    def joins_requests(self) -> bool:
        """True when the server batches requests, whichever setting says so."""
        return self.batching or self.flags.get("enable_batching") is True

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses of an external server."""
        return base_urls(self.url)


class FlaskSettings(TomlTable, frozen=True):
    """[flask]: the gunicorn + Flask baseline."""

    runtime: FlaskRuntime = "gunicorn"
    """``gunicorn`` starts ``flask_serving:app``; ``external`` measures a URL somebody else runs."""
    url: str | tuple[str, ...] = ""
    """Base URL for external; of a list, the addresses share the load."""
    headers: dict[str, str] = {}
    """External: headers of every request; ``{ Authorization = "env:NAME" }`` takes a value from the environment."""
    port: Port = 7123
    """Port on 127.0.0.1."""
    workers: AtLeastOne = 4
    """gunicorn ``-w``."""
    worker_class: Literal["sync", "gthread"] = "sync"
    """``sync`` closes the connection after every response; ``gthread`` keeps it alive."""
    threads: AtLeastOne = 1
    """gthread only: threads a worker."""
    timeout_s: AtLeastOne = 600
    """gunicorn ``--timeout``; a worker busy for longer is killed."""
    start_timeout_s: Seconds = 180.0
    """How long a start may take; four workers loading TensorFlow at once need 10–15 s on two cores."""

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses of an external server."""
        return base_urls(self.url)


class EndpointSettings(TomlTable, frozen=True):
    """[[endpoints]]: one more server that somebody else runs, measured beside the others under a name of its own."""

    name: str
    """What tables, ``--targets`` and ``status`` call it: letters, digits, ``-``, ``_`` and ``.``."""
    url: str | tuple[str, ...]
    """Base URL, for example ``https://eu.example.org/serving``; of a list, the addresses share the load."""
    headers: dict[str, str] = {}
    """Headers of every request; ``{ Authorization = "env:NAME" }`` takes a value from the environment."""
    model: str = ""
    """Servable name there; empty takes that of [model]."""
    runtime: ClassVar[Literal["external"]] = "external"

    @property
    def urls(self) -> tuple[str, ...]:
        """All its addresses."""
        return base_urls(self.url)


class BenchSettings(TomlTable, frozen=True):
    """[bench]: what holds for every run."""

    targets: tuple[str, ...] = ()
    """Names of the servers that a run measures; every ratio is the first's value to another's. Empty takes tf-serving,
    flask, then all endpoints."""
    timeout_s: Seconds = 60.0
    """Request timeout; the same in the client and in ``--rest_api_timeout_in_ms`` (R8)."""
    seed: int = 0
    """Seeds request bodies and the order of cells."""
    onednn: bool = False
    """``TF_ENABLE_ONEDNN_OPTS`` for both servers (R23)."""
    distinct_bodies: AtLeastOne = 32
    """How many different request bodies a cell sends in turn (fewer when they are large)."""
    cluster: str = ""
    """Dask cluster the load comes from, as ``--cluster`` takes it: ``tcp://HOST:8786``, ``tls://HOST:8786``,
    ``ssh:HOST,HOST`` or ``local:N``. Empty is this machine."""


class UiSettings(TomlTable, frozen=True):
    """[ui]: the terminal UI."""

    theme: str = "tfserve-dark"
    """``tfserve-dark``, ``tfserve-light`` or any theme of Textual."""
    keys: dict[str, str] = {}
    """Other keys for actions, by the ids of the README's table of keys: ``{ cancel_run = "f8", pause = "space" }``."""


class Settings(TomlTable, frozen=True):
    """The whole of tfserve.toml."""

    model: ModelSettings = ModelSettings()
    tf_serving: TfServingSettings = TfServingSettings()
    flask: FlaskSettings = FlaskSettings()
    endpoints: tuple[EndpointSettings, ...] = ()
    bench: BenchSettings = BenchSettings()
    ui: UiSettings = UiSettings()

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of all servers: tf-serving, flask, the endpoints in their order."""
        return (TF_SERVING, FLASK, *(endpoint.name for endpoint in self.endpoints))

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the servers that a run measures; the first is the numerator of every ratio (R17)."""
        return self.bench.targets or self.servers

    def server(self, name: str) -> TfServingSettings | FlaskSettings | EndpointSettings:
        """The table of server ``name``. Raises ConfigError for a name that no server has."""
        tables: dict[str, TfServingSettings | FlaskSettings | EndpointSettings]
        tables = {TF_SERVING: self.tf_serving, FLASK: self.flask, **{one.name: one for one in self.endpoints}}
        if name not in tables:
            raise ConfigError(f"unknown server {name!r}; {nearest(name, list(tables))}")
        return tables[name]

    def model_name(self, server: str) -> str:
        """Servable name at ``server``."""
        table = self.server(server)
        return (table.model if isinstance(table, EndpointSettings) else "") or self.model.name


def templates_dir() -> Path:
    """Folder of the shipped settings: ``serving_ctl/_configs`` in a wheel, ``configs/`` in a checkout."""
    package = Path(__file__).parent
    packaged = package / "_configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def gunicorn_config() -> Path:
    """The ``gunicorn.conf.py`` that checks the model path before any worker starts."""
    packaged = templates_dir() / "gunicorn.conf.py"
    return packaged if packaged.exists() else templates_dir().parent / "gunicorn.conf.py"


def state_dir() -> Path:
    """Folder for pid files, logs and effective settings of running servers; made when absent."""
    return _made(Path(os.environ.get("TFSERVE_STATE_DIR") or platformdirs.user_state_dir(APP)))


def data_dir() -> Path:
    """Folder for finished runs; made when absent."""
    return _made(Path(os.environ.get("TFSERVE_DATA_DIR") or platformdirs.user_data_dir(APP)))


def user_config_dir() -> Path:
    """Folder of the user's own settings and presets; may be absent."""
    return Path(os.environ.get("TFSERVE_CONFIG_DIR") or platformdirs.user_config_dir(APP))


def config_file(name: str) -> Path:
    """The file in force for ``tfserve.toml`` or ``presets.toml``: ./configs, else the user's folder, else shipped."""
    candidates = (Path("configs") / name, user_config_dir() / name)
    return next((path for path in candidates if path.is_file()), templates_dir() / name)


def own_file(name: str) -> Path:
    """Where the user's own ``name`` lies or would: ./configs when that one is in force, else the user's folder."""
    local = Path("configs") / name
    return local if local.is_file() else user_config_dir() / name


def load_settings(path: Path | None = None) -> Settings:
    """Settings of ``path``, or of the file in force.

    Raises ConfigError when the file is absent, is no TOML, or has an unknown key or a wrong value.
    """
    source = path or config_file("tfserve.toml")
    settings = read_toml(source, Settings)
    if problem := _contradiction(settings):
        raise ConfigError(f"{source}: {problem}")
    return settings


def _contradiction(settings: Settings) -> str | None:
    """What cannot work although each value by itself is allowed."""
    serving, flask = settings.tf_serving, settings.flask
    if serving.rest_threads == 1:
        return "[tf-serving] rest-threads = 1 makes TensorFlow Serving hang; use 0 or at least 2."
    if flask.runtime == "gunicorn" and settings.bench.timeout_s > flask.timeout_s:
        return "[bench] timeout-s is above [flask] timeout-s: gunicorn would end a worker before the client gives up."
    if "external" not in {serving.runtime, flask.runtime} and serving.port == flask.port:
        return f"[tf-serving] port and [flask] port are both {flask.port}; give each server one of its own."
    for name, table in ((TF_SERVING, serving), (FLASK, flask)):
        if table.runtime == "external" and not table.urls:
            return f'[{name}] runtime = "external" needs url = "http://HOST:PORT".'
        if problem := url_problem(f"[{name}]", table.urls):
            return problem
    return _endpoint_problem(settings.endpoints) or targets_problem(settings, settings.bench.targets)


def _endpoint_problem(endpoints: tuple[EndpointSettings, ...]) -> str | None:
    names = [endpoint.name for endpoint in endpoints]
    for endpoint in endpoints:
        name = endpoint.name
        if not ENDPOINT_NAME.fullmatch(name):
            return (
                f"[[endpoints]] name = {name!r}: take 1 to 24 letters, digits, '-', '_', '.'; a letter or digit first."
            )
        if name.lower() in TAKEN_NAMES:
            return f"[[endpoints]] name = {name!r} is what tfserve-tui itself calls something else; take another."
        if sum(name.lower() == other.lower() for other in names) > 1:
            return f"[[endpoints]] two are called {name!r}; give each a name of its own."
        if not endpoint.urls:
            return f'[[endpoints]] {name}: needs url = "http://HOST:PORT".'
        if problem := url_problem(f"[[endpoints]] {name}:", endpoint.urls):
            return problem
    return None


def targets_problem(settings: Settings, targets: tuple[str, ...], source: str = "[bench] targets") -> str | None:
    """Why a run cannot measure ``targets``; None when it can, or when they are left to the settings."""
    if unknown := [name for name in targets if name not in settings.servers]:
        return f"{source}: no server is called {unknown[0]!r}; {nearest(unknown[0], list(settings.servers))}"
    if len(set(targets)) < len(targets):
        return f"{source}: {max(targets, key=targets.count)!r} stands there twice."
    if len(targets) == 1:
        return f"{source}: {targets[0]!r} alone has nothing to be compared with; name two servers or more."
    return None


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made: {error.strerror}; point TFSERVE_STATE_DIR and TFSERVE_DATA_DIR elsewhere."
        ) from None
    return folder
