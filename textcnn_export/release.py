"""Version folders of a model: the next free number, and a new version that appears whole or not at all.

A version is built in a hidden folder beside its final place (on the same file system; TensorFlow Serving reads numeric
names only) and then renamed. A rename onto a folder that is not empty fails: two exports cannot overwrite each other.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textcnn_export.errors import ExportError

LAST_VERSION = 2**63 - 1  # TensorFlow Serving keeps versions as int64
FOLDER_MODE, FILE_MODE = 0o755, 0o644  # a server in a container runs as another user


def taken_versions(model_folder: Path) -> set[int]:
    """The version numbers in `model_folder`; TensorFlow Serving reads `007` as 7."""
    if not model_folder.is_dir():
        return set()
    names = (entry.name for entry in model_folder.iterdir())
    return {int(name) for name in names if name.isascii() and name.isdecimal()}


def free_version(model_folder: Path, wanted: int | None) -> int:
    """`wanted`, or the number after the highest one. Raises ExportError when there is none or `wanted` is taken."""
    taken = taken_versions(model_folder)
    if wanted is None:
        wanted = max(taken, default=0) + 1
        if wanted > LAST_VERSION:
            raise ExportError(f"{model_folder} holds version {LAST_VERSION}, the last one; choose one with --version")
    elif wanted in taken:
        raise _exists(model_folder, wanted)
    return wanted


@contextmanager
def staging_folder(model_folder: Path) -> Iterator[Path]:
    """A hidden empty folder in `model_folder`; what has not been published at the end is removed, new parents too."""
    with _folder(model_folder):
        staged = Path(tempfile.mkdtemp(prefix=".exporting-", dir=model_folder))
        try:
            yield staged
        finally:
            if staged.exists():
                shutil.rmtree(staged)


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make sure that `path` is a folder; one that was missing, and its missing parents, go again when left empty."""
    if path.is_dir():
        yield
        return
    with _folder(path.parent):
        path.mkdir(exist_ok=True)
        try:
            path.chmod(FOLDER_MODE)
            yield
        finally:
            with suppress(OSError):  # it holds a version, ours or another export's: it stays
                path.rmdir()


def publish(staged: Path, wanted: int | None) -> Path:
    """Turn the finished folder `staged` into version `wanted` (None: the next free one) and return its path.

    Raises ExportError when `wanted` exists, OSError when the folder cannot be renamed.
    """
    _settle(staged)
    while True:
        version = free_version(staged.parent, wanted)
        target = staged.parent / str(version)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if wanted is not None:
                raise _exists(staged.parent, wanted) from error
            continue  # another export has just taken the number
        _sync(target.parent)
        return target


def _exists(model_folder: Path, version: int) -> ExportError:
    return ExportError(
        f"{model_folder / str(version)} exists and is never overwritten; leave out --version for the next free one"
    )


def _settle(staged: Path) -> None:
    """Make everything in `staged` readable for other users and bring it to the disk: a full one is noticed now."""
    for parent, _, files in os.walk(staged, topdown=False):
        for name in files:
            Path(parent, name).chmod(FILE_MODE)
            _sync(Path(parent, name))
        Path(parent).chmod(FOLDER_MODE)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
