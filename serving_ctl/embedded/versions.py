"""The versions of one model: which are wanted, what state each is in, which of them answers a request.

States are START, LOADING, AVAILABLE, UNLOADING and END, as in the status answer. Two threads meet here: the watcher
(``catalog.py``) changes, request handlers read. Both maps are replaced as a whole, so readers need no lock.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from serving_ctl.embedded.config_files import ModelConfig
from serving_ctl.embedded.status import StatusError, invalid

if TYPE_CHECKING:
    from serving_ctl.embedded.servable import Servable

_log = logging.getLogger(__name__)
_VERSION_FOLDER = re.compile(r"[0-9]{1,19}")

Load = Callable[[str, int, Path], "Servable"]


@dataclass(frozen=True)
class VersionState:
    """One version's state and, at END, why it ended (``OK`` when it was unloaded)."""

    state: str
    code: str = "OK"
    message: str = ""


@dataclass(frozen=True)
class Retries:
    """How often and how far apart (seconds) a failed load is tried again."""

    most: int = 5
    interval_s: float = 60.0


@dataclass(frozen=True)
class _Attempt:
    """A version on its way to be loaded: tries so far, and when (monotonic seconds) the next one is due."""

    tries: int
    due: float


class ModelVersions:
    """One configured model."""

    def __init__(self, config: ModelConfig, load: Load, retries: Retries) -> None:
        self.config = config
        self.states: dict[int, VersionState] = {}
        self._load = load
        self._retries = retries
        self._servables: dict[int, Servable] = {}
        self._paths: dict[int, Path] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._aspired: set[int] | None = None

    def latest(self) -> Servable:
        """The available version with the highest number; StatusError (NOT_FOUND) if there is none."""
        servables = self._servables
        if not servables:
            raise StatusError("NOT_FOUND", f"Servable not found for request: Latest({self.config.name})")
        return servables[max(servables)]

    def specific(self, version: int) -> Servable:
        """The available version of that number; StatusError (NOT_FOUND) otherwise."""
        servable = self._servables.get(version)
        if servable is None:
            message = f"Servable not found for request: Specific({self.config.name}, {version})"
            raise StatusError("NOT_FOUND", message)
        return servable

    def labelled(self, label: str) -> Servable:
        """The version a label of the config stands for; StatusError if there is no such label or version."""
        if label not in self.config.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return self.specific(self.config.labels[label])

    def poll(self) -> None:
        """Look at the base path and settle which versions are wanted; unreadable, everything stays as it is."""
        found = self._found()
        if found is None:
            return
        if not found:
            _log.warning(
                "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a"
                " number (eg. '/1/')?",
                self.config.name,
                self.config.base_path,
            )
        self._aspire(self.config.policy.choose(found), found)

    def _found(self) -> dict[int, Path] | None:
        base = Path(self.config.base_path)
        try:
            folders = [entry for entry in base.iterdir() if _VERSION_FOLDER.fullmatch(entry.name)]
            return {int(entry.name): entry for entry in sorted(folders) if entry.is_dir()}
        except OSError as error:
            _log.error(
                "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path %s for"
                " servable %s with error NOT_FOUND: %s not found (%s)",
                base,
                self.config.name,
                base,
                error.strerror,
            )
            return None

    def _aspire(self, wanted: set[int], paths: dict[int, Path]) -> None:
        before = self._aspired or set()
        self._paths.update({version: paths[version] for version in wanted})
        # A version that failed stays failed for as long as it is wanted; taken away and brought back it gets a new try.
        for version in sorted(wanted - before - self._servables.keys()):
            self._attempts[version] = _Attempt(0, time.monotonic())
            self._set(version, VersionState("START"))
        for version in self._attempts.keys() - wanted:
            del self._attempts[version]
            self._set(version, VersionState("END"))
        self._aspired = wanted

    def advance(self, now: float) -> None:
        """One step: load what is due, unload what is wanted no more; a version goes only when another stands in."""
        for version in [version for version, known in self.states.items() if known.state == "UNLOADING"]:
            self._end(version)
        for version in sorted(self._attempts):
            if self._attempts[version].due <= now:
                self._try_load(version)
        aspired = self._aspired
        if aspired is None or (aspired and not aspired & self._servables.keys()):
            return
        for version in sorted(self._servables.keys() - aspired):
            self._unload(version)

    def retire(self) -> None:
        """Want no version at all, because the model left the config."""
        self._aspire(set(), {})

    @property
    def settled(self) -> bool:
        """Whether every wanted version is available or has failed for good, and at least one is wanted."""
        return bool(self._aspired) and not self._attempts

    @property
    def failures(self) -> dict[int, VersionState]:
        """Wanted versions that ended in an error."""
        states = {version: self.states[version] for version in sorted(self._aspired or ())}
        return {version: state for version, state in states.items() if state.code != "OK"}

    def _try_load(self, version: int) -> None:
        self._set(version, VersionState("LOADING"))
        attempt = self._attempts[version]
        servable_id = f"{{name: {self.config.name} version: {version}}}"
        _log.info("Loading servable version %s", servable_id)
        try:
            servable = self._load(self.config.name, version, self._paths[version])
        except StatusError as error:
            _log.error("Loading servable: %s failed: %s", servable_id, error)
            self._after_failure(version, attempt, error)
            return
        except Exception as error:
            _log.exception("Loading servable: %s failed", servable_id)
            self._after_failure(version, attempt, StatusError("INTERNAL", f"{type(error).__name__}: {error}"))
            return
        # Said before it is so: who waits for the last version must not print ahead of this line.
        _log.info("Successfully loaded servable version %s", servable_id)
        self._servables = {**self._servables, version: servable}
        self._set(version, VersionState("AVAILABLE"))
        del self._attempts[version]

    def _after_failure(self, version: int, attempt: _Attempt, error: StatusError) -> None:
        if attempt.tries < self._retries.most:
            self._attempts[version] = replace(
                attempt, tries=attempt.tries + 1, due=time.monotonic() + max(self._retries.interval_s, 0.0)
            )
            return
        servable_id = f"{{name: {self.config.name} version: {version}}}"
        _log.error("Servable %s cannot be loaded: %s", servable_id, error)
        self._set(version, VersionState("END", error.code, error.message))
        del self._attempts[version]

    def _unload(self, version: int) -> None:
        """Take a version out of service; its end is told one step later, when requests under way had their time."""
        _log.info("Quiescing servable version {name: %s version: %d}", self.config.name, version)
        self._servables = {key: value for key, value in self._servables.items() if key != version}
        self._set(version, VersionState("UNLOADING"))

    def _end(self, version: int) -> None:
        _log.info("Done unloading servable version {name: %s version: %d}", self.config.name, version)
        self._set(version, VersionState("END"))

    def _set(self, version: int, state: VersionState) -> None:
        self.states = {**self.states, version: state}
