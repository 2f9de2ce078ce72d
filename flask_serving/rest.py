"""The Flask application: routes, errors and the body. JSON and tensors are `decode`'s, `model`'s and `encode`'s.

Paths, answers and error texts follow TensorFlow Serving's REST API; every error is `{"error": …}`, also where
TensorFlow Serving answers HTML. Not here: version labels, `:classify` and `:regress`.
"""

from __future__ import annotations

import os
import zlib
from time import perf_counter_ns
from typing import Any

import orjson
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from flask_serving.decode import decode_predict
from flask_serving.encode import encode_predict
from flask_serving.model import InputRefused, LazyModel, ModelError, ServedModel
from flask_serving.refusal import InvalidRequest
from flask_serving.settings import Settings


class _ModelName(BaseConverter):
    """A model's name in a path: up to the colon before the verb."""

    regex = "[^/:]+"


def create_app(settings: Settings) -> Flask:
    """The application; the model is loaded at `app.extensions["served_model"].get()` or the first request."""
    app = Flask("flask_serving", static_folder=None)
    app.config["MAX_BODY_BYTES"] = settings.max_body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.extensions["served_model"] = LazyModel(settings)
    app.url_map.converters["model"] = _ModelName
    app.url_map.merge_slashes = False
    app.add_url_rule("/v1/models", view_func=_no_name, methods=["GET"])
    for prefix in ("/v1/models/<model:name>", "/v1/models/<model:name>/versions/<int:version>"):
        app.add_url_rule(prefix, view_func=_status, methods=["GET"])
        app.add_url_rule(f"{prefix}/metadata", view_func=_metadata, methods=["GET"])
        app.add_url_rule(f"{prefix}:predict", view_func=_predict, methods=["POST"])
    _add_short_route(app, settings.served_name)
    _register_errors(app)
    return app


def _add_short_route(app: Flask, name: str) -> None:
    """Predict on the served model without patterns: Werkzeug would try five of them on each request."""
    app.url_map.redirect_defaults = False
    if "<" not in name:
        app.add_url_rule(f"/v1/models/{name}:predict", view_func=_predict, methods=["POST"], defaults={"name": name})


def _no_name() -> Response:
    return _error("Missing model name in request.", 400)


def _status(name: str, version: int | None = None) -> Response:
    location = _model().location
    if name != location.name or version not in (None, location.version):
        wanted = name if version is None else f"{name} with version {version}"
        return _error(f"Could not find any versions of model {wanted}", 404)
    status = {"error_code": "OK", "error_message": ""}
    return _json({"model_version_status": [{"version": str(location.version), "state": "AVAILABLE", "status": status}]})


def _metadata(name: str, version: int | None = None) -> Response:
    model = _served(name, version)
    spec = {"name": name, "version": str(model.location.version), "signature_name": ""}
    return _json(
        {"model_spec": spec, "metadata": {"signature_def": {"signature_def": model.signature_defs}}},
    )


def _predict(name: str, version: int | None = None) -> Response:
    """Answer one predict request, with its times in a Server-Timing header (methodology rule R21; milliseconds)."""
    model = _served(name, version)
    body = _body()
    begin = perf_counter_ns()
    call = decode_predict(body, model.signatures)
    decoded = perf_counter_ns()
    outputs = call.signature.run(call.arrays)
    inferred = perf_counter_ns()
    answer = Response(encode_predict(outputs, by_row=call.by_row), mimetype="application/json")
    encoded = perf_counter_ns()
    answer.headers["Server-Timing"] = (
        f"decode;dur={(decoded - begin) / 1e6:.4f}, infer;dur={(inferred - decoded) / 1e6:.4f}, "
        f"encode;dur={(encoded - inferred) / 1e6:.4f}, worker;desc={os.getpid()}"
    )
    return answer


def _model() -> ServedModel:
    model: ServedModel = current_app.extensions["served_model"].get()
    return model


def _served(name: str, version: int | None) -> ServedModel:
    model = _model()
    if name != model.location.name or version not in (None, model.location.version):
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {wanted}")
    return model


def _body() -> bytes:
    """The request's body, unpacked; RequestEntityTooLarge if it is longer than the limit, packed or unpacked.

    Not by Flask's MAX_CONTENT_LENGTH: that cuts a body sent in chunks at the limit without a word.
    """
    limit: int = current_app.config["MAX_BODY_BYTES"]
    environ = request.environ
    declared = int(environ.get("CONTENT_LENGTH") or 0)  # a body in chunks declares nothing
    if declared > limit:
        raise RequestEntityTooLarge
    body: bytes = environ["wsgi.input"].read(declared or limit + 1)
    if environ.get("HTTP_CONTENT_ENCODING", "").lower() == "gzip":
        body = _unpacked(body, limit + 1)
    if len(body) > limit:
        raise RequestEntityTooLarge
    return body


def _unpacked(packed: bytes, limit: int) -> bytes:
    """The first `limit` bytes at most of what was packed with gzip."""
    unpacker = zlib.decompressobj(wbits=31)  # 31: a gzip header, the largest window
    try:
        body = unpacker.decompress(packed, limit)
    except zlib.error as error:
        raise InvalidRequest(f"The body is not the gzip that its Content-Encoding says: {error}") from error
    if not unpacker.eof and len(body) < limit:
        raise InvalidRequest("The body is gzip that was cut short")
    return body


def _register_errors(app: Flask) -> None:
    app.register_error_handler(InvalidRequest, lambda error: _error(str(error), 400))
    app.register_error_handler(InputRefused, lambda error: _error(str(error), 400))
    app.register_error_handler(ModelError, lambda error: _error(str(error), 500))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)


def _http_error(error: HTTPException) -> Response:
    """TensorFlow Serving calls every path and method under /v1 that it does not know a malformed request."""
    if isinstance(error, RequestEntityTooLarge):
        limit: int = current_app.config["MAX_BODY_BYTES"]
        _discard_body(limit)
        return _error(f"The body is longer than {limit} bytes (TFSERVE_MAX_BODY_BYTES)", 413)
    unknown = isinstance(error, MethodNotAllowed) or (isinstance(error, NotFound) and request.url_rule is None)
    if unknown and request.path.startswith("/v1/"):
        return _error(f"Malformed request: {request.method} {request.path}", 400)
    if unknown:
        return _error(f"Not found: {request.method} {request.path}", 404)
    return _error(error.description or error.name, error.code or 500)


def _discard_body(limit: int) -> None:
    """Read up to `limit` bytes more: a client that is still sending when we close never sees the answer."""
    left = limit
    while left > 0 and (block := request.environ["wsgi.input"].read(min(left, 65536))):
        left -= len(block)


def _fault(error: Exception) -> Response:
    current_app.logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _error(f"{type(error).__name__}: {error}", 500)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document, option=orjson.OPT_INDENT_2), status, mimetype="application/json")


def _error(text: str, status: int) -> Response:
    return Response(
        orjson.dumps({"error": text.encode("utf-8", "replace").decode()}), status, mimetype="application/json"
    )
