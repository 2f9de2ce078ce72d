"""One version of a model, loaded: its session, its signatures, and a call for each of them.

A graph-mode session's callable costs about half of the eager signature call and lets go of the interpreter lock while
it runs. TensorFlow's Python loader restores the graph; what it would report differently is checked here first, so
that a failed load reads like the real server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.saved_model import loader_impl

from serving_ctl.embedded.config_files import BatchingParameters
from serving_ctl.embedded.status import StatusError, from_tensorflow, invalid
from serving_ctl.embedded.tensors import Tensor

DEFAULT_SIGNATURE = "serving_default"
INIT_SIGNATURE = "__saved_model_init_op"
_v1 = tf.compat.v1
_CPP_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


@dataclass(frozen=True)
class SessionSettings:
    """How sessions run: threads (0 is TensorFlow's default), the limit of one run, the tags of the graph to load."""

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    timeout_ms: int = 30_000
    tags: tuple[str, ...] = ("serve",)


@dataclass(frozen=True)
class Ran:
    """What one run gave: outputs by name, and the seconds inside the session."""

    outputs: dict[str, Tensor]
    graph_s: float


class Signature:
    """One signature of a loaded version, ready to be called from any thread."""

    def __init__(self, name: str, definition: Any, session: Any, timeout_ms: int) -> None:
        self.name = name
        self.definition = definition
        self.dtypes = {key: dtype_name(info.dtype) for key, info in sorted(definition.inputs.items())}
        self._outputs = sorted(definition.outputs)
        fetches = [definition.outputs[key].name for key in self._outputs]
        self._fetches = list(dict.fromkeys(fetches))
        self._where = [self._fetches.index(fetch) for fetch in fetches]
        options = config_pb2.CallableOptions(
            feed=[definition.inputs[key].name for key in self.dtypes],
            fetch=self._fetches,
            run_options=config_pb2.RunOptions(timeout_in_ms=max(timeout_ms, 0)),
        )
        # The session's public make_callable feeds through Python; this is what it and Keras use underneath.
        self._call = session._make_callable_from_options(options)

    def run(self, tensors: Mapping[str, Tensor]) -> Ran:
        """Run the signature; blocks without holding the interpreter lock. Raises StatusError."""
        feeds = [tensors[name] for name in self.dtypes]
        began = time.perf_counter()
        try:
            fetched = self._call(*feeds)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        graph_s = time.perf_counter() - began
        outputs = {name: fetched[index] for name, index in zip(self._outputs, self._where, strict=True)}
        return Ran(outputs, graph_s)


class Servable:
    """A loaded SavedModel. Dropping the last reference frees its session, so requests under way always finish."""

    def __init__(self, path: Path, version: int, settings: SessionSettings) -> None:
        """Load ``path``; raises StatusError with the real server's code and text."""
        meta_graph = _read_meta_graph(path, settings.tags)
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=settings.intra_op_threads,
            inter_op_parallelism_threads=settings.inter_op_threads,
        )
        graph = tf.Graph()
        session = _v1.Session(graph=graph, config=config)
        try:
            _restore(session, graph, meta_graph, path)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        except (ValueError, KeyError, RuntimeError) as error:
            raise invalid(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
        self.version = version
        self.path = path
        self.batching: BatchingParameters | None = None  # how its runs are batched, if they are
        self.definitions = {name: meta_graph.signature_def[name] for name in meta_graph.signature_def}
        self.signatures = {
            name: Signature(name, definition, session, settings.timeout_ms)
            for name, definition in self.definitions.items()
            if name != INIT_SIGNATURE
        }

    def signature(self, name: str) -> Signature:
        """The signature ``name``, or the default one if it is empty; StatusError as predict answers it."""
        wanted = name or DEFAULT_SIGNATURE
        found = self.signatures.get(wanted)
        if found is not None and found.dtypes:
            return found
        if wanted in self.definitions:
            raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
        raise invalid(f'Serving signature name: "{wanted}" not found in signature def')

    def example_signature(self, name: str, check: Callable[[Any], None]) -> Signature:
        """The signature ``name`` for classify or regress; StatusError if there is none or ``check`` refuses it."""
        wanted = name or DEFAULT_SIGNATURE
        if wanted not in self.definitions:
            raise invalid(f"No signature was found with the name: {wanted}")
        check(self.definitions[wanted])
        return self.signatures[wanted]


def _read_meta_graph(path: Path, tags: tuple[str, ...]) -> Any:
    """The MetaGraphDef with ``tags``; errors in the words of TensorFlow's C++ reader."""
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((path / "saved_model.pb").read_bytes())
    except FileNotFoundError:
        raise StatusError(
            "NOT_FOUND",
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}."
            " Check that the directory exists and that you have the right permissions for accessing it.",
        ) from None
    except OSError as error:
        raise StatusError("FAILED_PRECONDITION", f"{path}; {error.strerror}") from None
    except DecodeError:
        raise StatusError("OUT_OF_RANGE", "Read less bytes than requested") from None
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    raise StatusError(
        "NOT_FOUND",
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect available tag-sets"
        " in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
    )


def _restore(session: Any, graph: Any, meta_graph: Any, path: Path) -> None:
    with graph.as_default():
        saver = _v1.train.import_meta_graph(meta_graph_pb2.MetaGraphDef.FromString(meta_graph.SerializeToString()))
        # Without variables the real server loads the model and fails at the first predict.
        if saver is not None and (path / "variables" / "variables.index").exists():
            saver.restore(session, str(path / "variables" / "variables"))
        init_op = loader_impl.get_init_op(meta_graph)
        if init_op is not None:
            session.run([init_op], feed_dict=loader_impl.get_asset_tensors(str(path), meta_graph))
    graph.finalize()


def dtype_name(dtype: int) -> str:
    """TensorFlow's C++ name of a DataType number: ``float``, ``double``, ``half``, ``int32``, …"""
    name: str = tf.as_dtype(dtype).name
    return _CPP_NAMES.get(name, name)
