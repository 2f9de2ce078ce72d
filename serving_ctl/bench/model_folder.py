"""The SavedModel that both servers serve, as it lies on this disk: what is wrong with it, and its example requests.

An external server may serve a model that is not here; bodies are then made from its metadata alone.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from serving_ctl.api.metadata import ServedModel, Signature, choose_signature
from serving_ctl.bench.payload import Instance, Values, build_bodies, fixed_batch
from serving_ctl.config import ModelSettings
from serving_ctl.errors import ConfigError

REQUESTS_FILE = Path("assets.extra") / "requests.jsonl"
INTEGER_BOUND = 100


class ModelFolder:
    """The base folder of a model: one numeric folder a version."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._base = Path(settings.path)

    def newest(self) -> Path | None:
        """The newest version's folder, which is the version both servers serve; None when there is none."""
        folders = [path.parent for path in self._base.glob("*/saved_model.pb") if path.parent.name.isdigit()]
        return max(folders, key=lambda path: int(path.name), default=None)

    def problem(self) -> str | None:
        """Why no model can be served from here, and what to do; None when one can."""
        if not self._base.is_dir():
            return f"No model at {self._base}: run `textcnn-export`, or set [model] path to a SavedModel's folder."
        if self.newest() is None:
            return f"{self._base} has no numeric version folder with a saved_model.pb; export one or set [model] path."
        return None

    def values(self, signature: Signature) -> Values:
        """What requests for ``signature`` are made of. Raises ConfigError for an unreadable file of requests."""
        return Values(
            examples=self._examples(signature),
            free_dimension=self._settings.free_dimension,
            dimensions=self._settings.dimensions,
            integer_bound=self._settings.integer_bound or self._vocabulary_size() or INTEGER_BOUND,
        )

    def probe(self, model: ServedModel, seed: int) -> bytes:
        """One real request body, for the readiness probe. Raises ConfigError when the model cannot be measured."""
        signature = choose_signature(model, self._settings.signature)
        values = self.values(signature)
        return build_bodies(signature, values, batch=fixed_batch(signature), count=1, seed=seed)[0]

    def _examples(self, signature: Signature) -> tuple[Instance, ...]:
        """The instances of the settings' file, else the model's own; none when it brings none for ``signature``."""
        if self._settings.requests:
            path = Path(self._settings.requests)
            examples = read_requests(path, signature)
            if not examples:
                names = ", ".join(tensor.name for tensor in signature.inputs)
                raise ConfigError(f"{path}: no line holds every input of signature {signature.name!r} ({names}).")
            return examples
        newest = self.newest()
        if newest is None or not (newest / REQUESTS_FILE).exists():
            return ()
        return read_requests(newest / REQUESTS_FILE, signature)

    def _vocabulary_size(self) -> int:
        """Lines of the version's vocabulary asset, the smallest when there are several; 0 when there is none."""
        newest = self.newest()
        files = sorted(newest.glob("assets*/*vocab*")) if newest else []
        return min((path.read_bytes().count(b"\n") for path in files if path.is_file()), default=0)


def read_requests(path: Path, signature: Signature) -> tuple[Instance, ...]:
    """The lines of ``path`` that hold every input of ``signature``, one object a line. Raises ConfigError."""
    names = [tensor.name for tensor in signature.inputs]
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        examples = [msgspec.json.decode(line, type=Instance) for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: example requests cannot be read: {error}") from None
    return tuple({name: example[name] for name in names} for example in examples if all(n in example for n in names))
