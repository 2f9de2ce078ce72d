"""The baseline: a gunicorn + Flask server with the REST shape of TensorFlow Serving.

`gunicorn -w 4 -b 127.0.0.1:7123 --timeout 600 flask_serving:app`, with the gunicorn.conf.py of the project root.
Importing this package loads neither Flask nor TensorFlow: `app` is made when it is first asked for, and the model
is loaded by each worker after the fork. The package stands alone: it shares no code with the engine.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from flask_serving.model import ServedModel

__all__ = ["load_model"]


@cache
def _application() -> Flask:
    from flask_serving.rest import create_app
    from flask_serving.settings import Settings

    return create_app(Settings.from_environment())


def load_model() -> ServedModel:
    """Load the model of `flask_serving:app` in this process, unless it is loaded; ModelError says why it cannot be."""
    model: ServedModel = _application().extensions["served_model"].get()
    return model


def __getattr__(name: str) -> Flask:
    """Give gunicorn its `app`, which cannot be made at import: gunicorn.conf.py imports us to check, without Flask."""
    if name == "app":
        return _application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
