"""One REST request in, one answer out: routing by path, and the calls behind it. Blocking, no sockets here.

Paths and texts are those of TensorFlow Serving's ``http_rest_api_handler``. Predictions carry a ``Server-Timing``
header (rule R21): ``decode``, ``infer`` and ``encode`` in milliseconds.
"""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from serving_ctl.embedded.answers import error_json, predict_json
from serving_ctl.embedded.catalog import Address, Catalog
from serving_ctl.embedded.examples import (
    check_classification,
    check_regression,
    classification_json,
    read_examples,
    regression_json,
)
from serving_ctl.embedded.exchange import NOT_TAKEN, Answer, Request
from serving_ctl.embedded.metrics import Metrics
from serving_ctl.embedded.model_json import metadata_json, status_json
from serving_ctl.embedded.predict_json import read_document, read_tensors
from serving_ctl.embedded.servable import Ran, Servable, Signature
from serving_ctl.embedded.status import HTTP_STATUS, StatusError, invalid
from serving_ctl.embedded.tensors import Tensor

_log = logging.getLogger(__name__)
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<call>classify|regress|predict)")
_STATUS = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<metadata>metadata))?")
_ANY_CASE_V1 = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_INT64_MAX = (1 << 63) - 1
_LARGEST_UNPACKED = 100 * 1024 * 1024  # kMaxUncompressedBytes of the real server's gzip reader
_BAD_METHODS = {"OPTIONS", "TRACE"}

NOT_FOUND_PAGE = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"

Run = Callable[[Servable, Signature, dict[str, Tensor]], Ran]
_EXAMPLE_CALLS = {
    "classify": (check_classification, classification_json),
    "regress": (check_regression, regression_json),
}


@dataclass(frozen=True)
class _Result:
    body: bytes
    timing: bytes = b""


class Handler:
    """Answers requests from the catalog; ``run`` is how a signature is run (directly or through batching).

    With ``cors`` a browser's OPTIONS is answered too; the headers it looks for go on every answer (``front.py``).
    """

    def __init__(
        self, catalog: Catalog, metrics: Metrics, run: Run, *, metrics_path: str | None = None, cors: bool = False
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._run = run
        self._metrics_path = metrics_path
        self._cors = cors

    def answer(self, request: Request) -> Answer:
        """The answer to one request; never raises."""
        method, path = request.method, request.path
        if method in _BAD_METHODS:
            return replace(NOT_TAKEN, status=200) if self._cors and method == "OPTIONS" else NOT_TAKEN
        if path == self._metrics_path:
            return Answer(200, self._metrics.page().encode(), b"text/plain")
        if not _ANY_CASE_V1.fullmatch(path) and path != "/v1":
            return Answer(404, NOT_FOUND_PAGE, b"text/html")
        began = time.perf_counter()
        match = {"POST": _PREDICTION, "GET": _STATUS}.get(method, _PREDICTION).fullmatch(path)
        model = unquote(match["model"] or "") if match else ""
        api = (match["call"] if method == "POST" else "") if match else ""
        status = "OK"
        try:
            result = self._result(request, match, model)
            answer = Answer(200, result.body, timing=result.timing)
        except StatusError as error:
            status, answer = error.code, _error(error)
        except Exception:
            _log.exception("%s %s failed", method, path)
            status, answer = "INTERNAL", _error(StatusError("INTERNAL", "Internal error; the server's log says more"))
        self._metrics.request(model, api, status, time.perf_counter() - began)
        return answer

    def _result(self, request: Request, match: re.Match[str] | None, model: str) -> _Result:
        if match is None or request.method not in ("GET", "POST"):
            raise invalid(f"Malformed request: {request.method} {request.path}")
        if not model:
            raise invalid("Missing model name in request.")
        address = _address(match, model)
        if request.method == "GET":
            return self._metadata(address) if match["metadata"] else self._status(address)
        body = _unpacked(request.body) if request.packed else request.body
        if match["call"] == "predict":
            return self._predict(address, body)
        return self._examples(address, body, match["call"])

    def _status(self, address: Address) -> _Result:
        model = self._catalog.model(address.model)
        states = model.states if model else {}
        if not states:
            raise StatusError("NOT_FOUND", f"Could not find any versions of model {address.model}")
        if address.version is None:
            return _Result(status_json(states))
        if address.version not in states:
            raise StatusError("NOT_FOUND", f"Could not find version {address.version} of model {address.model}")
        return _Result(status_json({address.version: states[address.version]}))

    def _metadata(self, address: Address) -> _Result:
        return _Result(metadata_json(address.model, self._catalog.servable(address)))

    def _predict(self, address: Address, body: bytes) -> _Result:
        began = time.perf_counter()
        document = read_document(body)
        servable = self._catalog.servable(address)
        signature = servable.signature(document.signature)
        tensors, row = read_tensors(document, signature.dtypes)
        decoded = time.perf_counter()
        ran = self._run(servable, signature, tensors)
        inferred = time.perf_counter()
        self._metrics.run(address.model, "Predict", inferred - decoded)
        text = predict_json(ran.outputs, row)
        encoded = time.perf_counter()
        return _Result(text, _timing(decoded - began, ran.graph_s, encoded - inferred))

    def _examples(self, address: Address, body: bytes, call: str) -> _Result:
        """classify and regress."""
        began = time.perf_counter()
        document = read_document(body)
        serialized = read_examples(document)
        servable = self._catalog.servable(address)
        check, to_json = _EXAMPLE_CALLS[call]
        signature = servable.example_signature(document.signature, check)
        decoded = time.perf_counter()
        ran = self._run(servable, signature, {"inputs": serialized})
        inferred = time.perf_counter()
        self._metrics.run(address.model, call.capitalize(), inferred - decoded)
        text = to_json(ran.outputs, len(serialized))
        return _Result(text, _timing(decoded - began, ran.graph_s, time.perf_counter() - inferred))


def _unpacked(body: bytes) -> bytes:
    """What a gzip body holds; one that is broken or unpacks to too much counts as empty, as with the real server."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, _LARGEST_UNPACKED)
    except zlib.error:
        return b""
    return data if unpacker.eof else b""


def _address(match: re.Match[str], model: str) -> Address:
    address = Address(model)
    if match["version"]:
        version = int(match["version"])
        if version > _INT64_MAX:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        address = replace(address, version=version)
    if match["label"]:
        address = replace(address, label=unquote(match["label"]))
    return address


def _error(error: StatusError) -> Answer:
    return Answer(HTTP_STATUS[error.code], error_json(error.message))


def _timing(decode_s: float, infer_s: float, encode_s: float) -> bytes:
    return f"decode;dur={decode_s * 1e3:.3f}, infer;dur={infer_s * 1e3:.3f}, encode;dur={encode_s * 1e3:.3f}".encode()
