"""The trained export as TensorFlow loads it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    """TensorFlow in the test process, imported as the command imports it, with the environment left as it was."""
    from textcnn_export.tensorflow_start import import_tensorflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        patch.setenv("TF_USE_LEGACY_KERAS", "1")
        import_tensorflow()
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def signatures(trained: Any, tensorflow: Any) -> Any:
    """The signatures of the trained export, loaded as a server loads them."""
    loaded = tensorflow.saved_model.load(str(trained.folder))
    signatures = loaded.signatures
    signatures.keep_alive = loaded  # the signatures alone do not keep the variables
    return signatures
