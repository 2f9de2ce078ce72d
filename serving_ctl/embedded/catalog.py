"""All configured models, and the watcher thread that keeps them as the config file and the folders say.

The watcher polls the config file and the base paths, loads and unloads one version after the other, and is the only
one to change them. Requests look servables up here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving_ctl.embedded.config_files import ModelConfig
from serving_ctl.embedded.status import StatusError
from serving_ctl.embedded.versions import Load, ModelVersions, Retries

if TYPE_CHECKING:
    from serving_ctl.embedded.servable import Servable

_log = logging.getLogger(__name__)
_STEP_S = 0.1  # how often the real server's manager looks at what there is to load and unload


@dataclass(frozen=True)
class Address:
    """Which servable a request means: a model and a version or a label, or neither for the latest version."""

    model: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class WatchSettings:
    """Seconds between polls (0: once, negative: never) of the base paths and of the config file."""

    folders_s: float = 1.0
    config_s: float = 0.0
    labels_for_unavailable: bool = False
    retries: Retries = field(default_factory=Retries)


class Catalog:
    """The models being served; ``read_config`` gives the wanted ones and is called again at each config poll."""

    def __init__(self, read_config: Callable[[], list[ModelConfig]], load: Load, settings: WatchSettings) -> None:
        """Raises StatusError if the first config cannot be used."""
        self._read_config = read_config
        self._load = load
        self._settings = settings
        self._models: dict[str, ModelVersions] = {}
        self._retired: dict[str, ModelVersions] = {}
        self._stop = threading.Event()
        self._settled = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._configure(read_config())

    def servable(self, address: Address) -> Servable:
        """The servable a request means; StatusError if there is none."""
        model = self._models.get(address.model)
        if model is None:
            if address.label is not None:
                raise StatusError("INVALID_ARGUMENT", f"Unrecognized servable version label: {address.label}")
            wanted = "Latest" if address.version is None else "Specific"
            number = "" if address.version is None else f", {address.version}"
            raise StatusError("NOT_FOUND", f"Servable not found for request: {wanted}({address.model}{number})")
        if address.label is not None:
            return model.labelled(address.label)
        return model.latest() if address.version is None else model.specific(address.version)

    def model(self, name: str) -> ModelVersions | None:
        """A model by name, also one that left the config but whose versions' ends are still told."""
        return self._models.get(name) or self._retired.get(name)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watcher; a load under way is not waited for."""
        self._stop.set()
        with self._settled:
            self._settled.notify_all()

    def wait_until_loaded(self) -> bool:
        """Block until every model is loaded or ``stop`` is called; returns whether they are.

        Raises StatusError as the real server words it if a version has failed for good.
        """
        with self._settled:
            while not self._stop.is_set():
                if all(model.settled for model in self._models.values()):
                    self._raise_failures()
                    return True
                self._settled.wait(1.0)
        return False

    def _raise_failures(self) -> None:
        failures = [
            f"{{{{name: {model.config.name} version: {version}}} due to error: {state.code}: {state.message}}}, "
            for model in self._models.values()
            for version, state in model.failures.items()
        ]
        if failures:
            message = f"{len(failures)} servable(s) did not become available: {{{''.join(failures)}}}"
            raise StatusError("UNKNOWN", message)

    def _watch(self) -> None:
        """Poll and load until stopped. Every pass is short but for loads; nothing it meets may end the thread."""
        due_folders = time.monotonic() if self._settings.folders_s >= 0 else float("inf")
        due_config = time.monotonic() + self._settings.config_s
        while not self._stop.is_set():
            now = time.monotonic()
            if self._settings.config_s > 0 and now >= due_config:
                due_config = now + self._settings.config_s
                self._reload()
            if now >= due_folders:
                due_folders = now + self._settings.folders_s if self._settings.folders_s > 0 else float("inf")
                for model in self._models.values():
                    model.poll()
                self._notify()
                self._stop.wait(_STEP_S)
            for model in [*self._models.values(), *self._retired.values()]:
                model.advance(time.monotonic())
                self._notify()
            self._stop.wait(_STEP_S)

    def _notify(self) -> None:
        with self._settled:
            self._settled.notify_all()

    def _reload(self) -> None:
        try:
            self._configure(self._read_config())
        except StatusError as error:
            _log.error("Reading the model config again failed, the last good one stays: %s", error)

    def _configure(self, configs: list[ModelConfig]) -> None:
        self._check_labels(configs)
        models: dict[str, ModelVersions] = {}
        for config in configs:
            known = self._models.get(config.name)
            if known is None:
                _log.info(" (Re-)adding model: %s", config.name)
                known = ModelVersions(config, self._load, self._settings.retries)
            known.config = config
            models[config.name] = known
        gone = {name: model for name, model in self._models.items() if name not in models}
        self._models = models
        self._retired = {name: model for name, model in {**self._retired, **gone}.items() if name not in models}
        for model in gone.values():
            model.retire()

    def _check_labels(self, configs: list[ModelConfig]) -> None:
        if self._settings.labels_for_unavailable:
            return
        for config in configs:
            known = self._models.get(config.name)
            for version in config.labels.values():
                state = known.states.get(version) if known else None
                if state is None or state.state != "AVAILABLE":
                    raise StatusError(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {version} of model {config.name},"
                        " which is not currently available for inference",
                    )
