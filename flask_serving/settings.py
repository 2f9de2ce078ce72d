"""What the environment says about the server, and where the SavedModel lies. No TensorFlow, no Flask here.

TFSERVE_MODEL_DIR        a model folder with numeric version folders (the newest is served) or one SavedModel folder
TFSERVE_MODEL_NAME       the name in the URL; default: the model folder's name
TFSERVE_MAX_BODY_BYTES   longest request body, packed and unpacked; default 256 MiB
TFSERVE_INTRA_OP_THREADS, TFSERVE_INTER_OP_THREADS   TensorFlow's thread pools; default: TensorFlow's own choice
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_MODEL_DIR = "release/text_cnn"
DEFAULT_MAX_BODY_BYTES = 256 * 1024 * 1024


class SettingsError(ValueError):
    """A setting cannot be used; the text is one line for the user."""


@dataclass(frozen=True)
class Settings:
    """The server's settings; thread counts of None leave the choice to TensorFlow."""

    model_dir: Path
    model_name: str | None
    max_body_bytes: int
    intra_op_threads: int | None
    inter_op_threads: int | None

    @property
    def served_name(self) -> str:
        """The name in the URL: the one that was set, else the model folder's, above a folder that is a version."""
        folder = self.model_dir.absolute()
        is_version = folder.name.isdecimal() and _is_saved_model(folder)
        return self.model_name or (folder.parent.name if is_version else folder.name)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the TFSERVE_ variables; SettingsError if a number is not one."""
        return cls(
            model_dir=Path(environ.get("TFSERVE_MODEL_DIR") or DEFAULT_MODEL_DIR),
            model_name=environ.get("TFSERVE_MODEL_NAME") or None,
            max_body_bytes=_count(environ, "TFSERVE_MAX_BODY_BYTES") or DEFAULT_MAX_BODY_BYTES,
            intra_op_threads=_count(environ, "TFSERVE_INTRA_OP_THREADS"),
            inter_op_threads=_count(environ, "TFSERVE_INTER_OP_THREADS"),
        )


@dataclass(frozen=True)
class ModelLocation:
    """One SavedModel on disk: its folder, and the name and version it is served under."""

    path: Path
    name: str
    version: int


def find_model(settings: Settings) -> ModelLocation:
    """The SavedModel to serve: the newest version below the model folder, or the folder itself.

    SettingsError, with what to do, if there is none. Nothing of the model is read.
    """
    folder = settings.model_dir.absolute()
    if not folder.is_dir():
        raise SettingsError(f"no model folder {folder}; export one (textcnn-export) or set TFSERVE_MODEL_DIR")
    if _is_saved_model(folder):
        return ModelLocation(folder, settings.served_name, int(folder.name) if folder.name.isdecimal() else 1)
    try:
        versions = {int(entry.name): entry for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir()}
    except OSError as error:
        raise SettingsError(f"cannot read the model folder {folder}: {error.strerror}") from error
    if not versions:
        raise SettingsError(
            f"no version in {folder}; a model folder holds numeric version folders, such as {folder.name}/1"
        )
    newest = max(versions)
    if not _is_saved_model(versions[newest]):
        raise SettingsError(f"no saved_model.pb in {versions[newest]}, the newest version; is the export complete?")
    return ModelLocation(versions[newest], settings.served_name, newest)


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file() or (folder / "saved_model.pbtxt").is_file()


def _count(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise SettingsError(f"{name}={text!r} is not a whole number above 0")
    return int(text)
