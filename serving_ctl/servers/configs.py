"""models.config and monitoring.config: the templates read and checked as protobuf text, and the effective files.

The effective files are written at each start, with the served name and that runtime's base path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving_ctl.api.server_config_pb2 import BatchingParameters, ModelServerConfig, MonitoringConfig
from serving_ctl.config import config_file
from serving_ctl.errors import ConfigError

MODELS, MONITORING, BATCHING = "models.config", "monitoring.config", "batching.config"
KINDS: dict[str, type[Message]] = {
    MODELS: ModelServerConfig,
    MONITORING: MonitoringConfig,
    BATCHING: BatchingParameters,
}

M = TypeVar("M", bound=Message)


def parse(text: str, kind: type[M], source: str | Path) -> M:
    """``text`` as a ``kind``; raises ConfigError naming ``source``, line, column and field."""
    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        # protobuf's text is "line:column : "the line": what is wrong", or has no place at all.
        place = f":{error.GetLine()}" if error.GetLine() else ""
        words = str(error).split(" : ", 1)[-1].replace('"tfserve.', '"tensorflow.serving.')
        raise ConfigError(f"{source}{place}: not a {kind.DESCRIPTOR.name}: {words}") from None


def read(name: str) -> Message:
    """The file ``name`` in force, parsed; raises ConfigError."""
    path = config_file(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(text, KINDS[name], path)


def models_config(name: str, base_path: str) -> ModelServerConfig:
    """The template with its first model renamed to ``name`` at ``base_path``; raises ConfigError."""
    document = read(MODELS)
    assert isinstance(document, ModelServerConfig)
    models = document.model_config_list.config
    model = models[0] if models else models.add(model_platform="tensorflow")
    model.name = name
    model.base_path = base_path
    return document


def write_effective(folder: Path, name: str, base_path: str, copies: Mapping[str, Path]) -> None:
    """Write models.config and monitoring.config for one start into ``folder``, readable for every user.

    ``copies`` are further files: name there, and source. Raises ConfigError.
    """
    messages = {MODELS: models_config(name, base_path), MONITORING: read(MONITORING)}
    contents = {file: text_format.MessageToBytes(message) for file, message in messages.items()}
    contents |= {file: _content(source) for file, source in copies.items()}
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for file, content in contents.items():
        path = folder / file
        path.write_bytes(content)
        path.chmod(0o644)


@contextmanager
def kept_unless_done(folder: Path) -> Iterator[None]:
    """When what is done within fails, the effective files are as before: what runs reads them when it starts again."""
    before = {path: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            path.write_bytes(content)
        raise


def _content(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}.") from None
