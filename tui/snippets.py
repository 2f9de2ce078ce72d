"""Snippets that ask a served model from elsewhere: curl, Python and gRPC. Pure functions on metadata and a body."""

from __future__ import annotations

import json
import shlex
from typing import Any

TF_TYPES = {"float": "float32", "double": "float64", "half": "float16"}
"""TensorFlow's names of the types that the metadata calls otherwise."""


def curl_snippet(url: str, model: str, body: bytes) -> str:
    """One curl command."""
    address = f"{url}/v1/models/{model}:predict"
    return f"curl -s {shlex.quote(address)} \\\n  -d {shlex.quote(body.decode())}\n"


def python_snippet(url: str, model: str, body: bytes) -> str:
    """A script with the standard library alone."""
    return (
        "import json\n"
        "from urllib.request import Request, urlopen\n\n"
        f"body = {json.loads(body)!r}\n"
        f'request = Request("{url}/v1/models/{model}:predict", data=json.dumps(body).encode())\n'
        "with urlopen(request, timeout=60) as answer:\n"
        "    print(json.load(answer))\n"
    )


def grpc_snippet(host: str, model: str, signature: Any, body: bytes) -> str:
    """A script for TensorFlow Serving's gRPC port; needs tensorflow and tensorflow-serving-api."""
    lines = [
        "# pip install tensorflow tensorflow-serving-api; the Flask side has no gRPC",
        "import grpc",
        "import tensorflow as tf",
        "from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc",
        "",
        f'stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("{host}:8500"))',
        "request = predict_pb2.PredictRequest()",
        f'request.model_spec.name = "{model}"',
        f'request.model_spec.signature_name = "{signature.name}"',
    ]
    for tensor in signature.inputs:
        values = _column(json.loads(body), tensor.name)
        dtype = TF_TYPES.get(tensor.dtype, tensor.dtype)
        lines.append(f'request.inputs["{tensor.name}"].CopyFrom(tf.make_tensor_proto({values!r}, dtype=tf.{dtype}))')
    lines += ["print(stub.Predict(request, timeout=60))", ""]
    return "\n".join(lines)


def _column(body: dict[str, Any], name: str) -> Any:
    """The values of one input in a row or column body."""
    if "inputs" in body:
        inputs = body["inputs"]
        return inputs[name] if isinstance(inputs, dict) else inputs
    rows = body["instances"]
    return [row[name] if isinstance(row, dict) and name in row else row for row in rows]
