"""The user's own files, as the faces change them: flags in tfserve.toml, and models, monitoring and batching.config.

What is written was checked before; comments and everything else in the files stay; the shipped files are never touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from serving_ctl.config import TF_SERVING, load_settings, own_file
from serving_ctl.errors import ConfigError
from serving_ctl.servers.chosen_flags import BATCHING_FILE, copy_name
from serving_ctl.servers.configs import BATCHING, KINDS, parse
from serving_ctl.servers.flags import FlagValue

SETTINGS = "tfserve.toml"
CONFIG_NAMES = tuple(KINDS)


def save_flags(path: Path, flags: Mapping[str, FlagValue]) -> None:
    """Make ``flags`` the whole of [tf-serving.flags] in the settings file ``path``; it may be absent.

    Raises ConfigError, the file as it was, when it is no valid settings file, before or after, or cannot be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if path.exists():
        load_settings(path)
    try:
        document = tomlkit.parse(_read(path) if path.exists() else "")
        serving = document.setdefault(TF_SERVING, tomlkit.table(is_super_table=True))
        _make_equal(serving.setdefault("flags", tomlkit.table()), flags)
        text = tomlkit.dumps(document)
    except TOMLKitError as error:
        raise ConfigError(f"{path}: cannot be changed: {error}; edit [tf-serving.flags] by hand.") from None
    _write(path, text, lambda unfinished: _check_flags_of(unfinished, path, flags))


def save_config(name: str, text: str) -> Path:
    """Write ``text`` as the user's ``name`` (of ``CONFIG_NAMES``); returns the file.

    Raises ConfigError naming line and field when it is no protobuf text of its kind, or when it cannot be written.
    """
    parse(text, KINDS[name], name)
    path = own_file(name).absolute()
    _write(path, text, lambda unfinished: None)
    return path


def effective_config(folder: Path, name: str) -> tuple[Path, str]:
    """The file that the last start of tf-serving was given for ``name``, and its text.

    ``folder`` is the effective config folder. Raises ConfigError when that start had none.
    """
    path = folder / (copy_name(BATCHING_FILE) if name == BATCHING else name)
    if not path.is_file():
        why = "that takes batching = true" if name == BATCHING else "tf-serving was not started yet"
        raise ConfigError(f"No start was given a {name}: {why}.")
    return path, _read(path)


def config_text(path: Path) -> str:
    """The text of a config file. Raises ConfigError."""
    return _read(path)


def _make_equal(table: MutableMapping[str, FlagValue], flags: Mapping[str, FlagValue]) -> None:
    for name in [name for name in table if name not in flags]:
        del table[name]
    for name, value in flags.items():
        if name not in table or table[name] != value or isinstance(table[name], bool) != isinstance(value, bool):
            table[name] = value


def _check_flags_of(unfinished: Path, path: Path, flags: Mapping[str, FlagValue]) -> None:
    if load_settings(unfinished).tf_serving.flags != flags:
        raise ConfigError(f"{path}: its [tf-serving.flags] cannot be changed from here; edit it by hand.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _write(path: Path, text: str, check: Callable[[Path], None]) -> None:
    """Replace ``path`` in one step, when ``check`` of the new file passes; a link stays a link."""
    target = path.resolve()
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        check(unfinished)
        if target.exists():
            unfinished.chmod(target.stat().st_mode & 0o777)
        unfinished.replace(target)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None
    finally:
        with contextlib.suppress(OSError):  # the error above says why
            unfinished.unlink(missing_ok=True)
