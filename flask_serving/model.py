"""The SavedModel in memory: its signatures as fast callables, and its metadata. TensorFlow is imported here, on load.

The graph runs in a Session, as it does inside TensorFlow Serving, through a callable prepared once for each signature:
at batch 1 about 0.2 ms less than `tf.saved_model.load(...).signatures[...]`, and every SavedModel loads this way
(classic graphs, tables, assets). A baseline that wastes time would flatter the other server.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flask_serving.settings import ModelLocation, Settings, SettingsError, find_model

Array = NDArray[Any]

DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


class ModelError(RuntimeError):
    """The model cannot be loaded; the text is one line for the user."""


class InputRefused(ValueError):
    """The graph refused the tensors it was given (an index out of range, shapes that do not fit each other)."""


@dataclass(frozen=True)
class TensorSpec:
    """One input of a signature: TensorFlow's short dtype name ("float", "int32"), and the shape, None where unknown."""

    dtype_name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """One way to call the graph; `run` takes arrays in the order of `inputs` and answers them by output name."""

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    run: Callable[[list[Array]], dict[str, Array]]

    @property
    def takes_predict(self) -> bool:
        """Whether TensorFlow Serving would predict with it (not so for the init op that SavedModels list)."""
        return self.method in _METHODS and bool(self.inputs)


@dataclass(frozen=True)
class ServedModel:
    """A loaded model with the name, version, signatures and SignatureDefs (as JSON values) it is served under."""

    location: ModelLocation
    signatures: Mapping[str, Signature]
    signature_defs: Mapping[str, Any]
    load_seconds: float


class LazyModel:
    """The model of this process: loaded at the first `get`, by one thread; a failure is kept, not tried again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._outcome: ServedModel | ModelError | None = None

    def get(self) -> ServedModel:
        """The loaded model; ModelError if it cannot be loaded."""
        if self._outcome is None:
            with self._lock:
                if self._outcome is None:
                    self._outcome = self._load()
        if isinstance(self._outcome, ModelError):
            raise self._outcome
        return self._outcome

    def _load(self) -> ServedModel | ModelError:
        try:
            return load(find_model(self._settings), self._settings)
        except SettingsError as error:
            return ModelError(str(error))
        except ModelError as error:
            return error


def load(location: ModelLocation, settings: Settings) -> ServedModel:
    """Load one SavedModel (tag "serve") and prepare every signature; ModelError if anything about it is broken."""
    begin = time.perf_counter()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow would load Keras, and that Matplotlib: a quarter of its import. The older Keras is not installed.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    try:
        session, graph_def = _open_session(location, settings)
        signatures = {name: _signature(session, name, sign) for name, sign in graph_def.signature_def.items()}
        signature_defs = _as_json(graph_def.signature_def)
    except (
        Exception
    ) as error:  # TensorFlow raises nearly anything on a broken file; all of it means one thing to the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"cannot load {location.name} version {location.version} from {location.path}: {reason}"
        ) from error
    # What was just loaded lives as long as the process: keep it out of every later collection.
    gc.collect()
    gc.freeze()
    return ServedModel(location, signatures, signature_defs, time.perf_counter() - begin)


def _open_session(location: ModelLocation, settings: Settings) -> tuple[Any, Any]:
    import tensorflow as tf

    tf.get_logger().setLevel(logging.ERROR)
    v1 = tf.compat.v1
    config = v1.ConfigProto(
        intra_op_parallelism_threads=settings.intra_op_threads or 0,
        inter_op_parallelism_threads=settings.inter_op_threads or 0,
    )
    session = v1.Session(graph=v1.Graph(), config=config)
    atexit.register(session.close)  # before the interpreter takes TensorFlow apart
    with session.graph.as_default():
        meta_graph = v1.saved_model.load(session, [v1.saved_model.SERVING], str(location.path))
    _require_variables(location, meta_graph.graph_def)
    return session, meta_graph


def _require_variables(location: ModelLocation, graph_def: Any) -> None:
    """The loader skips an absent checkpoint with a log line; the first predict would then fail."""
    has_variables = any(node.op in ("VarHandleOp", "VariableV2") for node in graph_def.node)
    if has_variables and not (location.path / "variables" / "variables.index").is_file():
        raise FileNotFoundError("the graph has variables but variables/variables.index is missing")


def _signature(session: Any, name: str, sign: Any) -> Signature:
    inputs = {key: _tensor_spec(info) for key, info in sorted(sign.inputs.items())}
    if not inputs:
        return Signature(name, sign.method_name, inputs, _cannot_run)
    return Signature(name, sign.method_name, inputs, _prepared_call(session, sign))


def _tensor_spec(info: Any) -> TensorSpec:
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    if info.WhichOneof("encoding") != "name":
        raise ValueError("a signature takes a sparse or composite tensor, which the REST API cannot carry")
    unknown = info.tensor_shape.unknown_rank
    shape = None if unknown else tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    dtype_name = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    return TensorSpec(dtype_name, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), shape)


def _cannot_run(_: list[Array]) -> dict[str, Array]:
    raise InputRefused("the signature has no inputs")


def _prepared_call(session: Any, sign: Any) -> Callable[[list[Array]], dict[str, Array]]:
    """A function from input arrays (sorted by input name) to the signature's outputs by name.

    Session.make_callable, the public way, takes 0.13 ms more a call: it builds a feed dictionary each time and runs
    that. TensorFlow refuses to fetch what is fed, so an output that is an input is handed through here.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

    feeds = [info.name for _, info in sorted(sign.inputs.items())]
    output_tensors = {key: info.name for key, info in sign.outputs.items()}
    fetches = [name for name in dict.fromkeys(output_tensors.values()) if name not in feeds]
    run = session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
    places = {key: (feeds + fetches).index(tensor) for key, tensor in output_tensors.items()}
    refusals = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)

    def call(arrays: list[Array]) -> dict[str, Array]:
        try:
            values = arrays + run(*arrays)
        except refusals as error:
            raise InputRefused(error.message) from error
        return {key: values[place] for key, place in places.items()}

    return call


def _as_json(signature_defs: Any) -> dict[str, Any]:
    """SignatureDefs as TensorFlow Serving's metadata prints them: every field, sizes as strings, enums by name."""
    from google.protobuf.json_format import MessageToDict

    return {
        name: MessageToDict(sign, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, sign in signature_defs.items()
    }
