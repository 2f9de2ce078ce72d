"""Snippets that ask a served model from elsewhere: curl, Python and gRPC. Pure functions on metadata and a body."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from serving_ctl.events import ServerChanged

GRPC_PORT = 8500
FROM_ENVIRONMENT = "env:"
"""Before a header's value in the settings: the name of an environment variable follows."""
NO_HEADERS: Mapping[str, str] = {}
TF_TYPES = {"float": "float32", "double": "float64", "half": "float16"}
"""TensorFlow's names of the types that the metadata calls otherwise."""


def curl_snippet(url: str, model: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> str:
    """One curl command, with the ``headers`` of the settings."""
    address = f"{url}/v1/models/{model}:predict"
    carried = [f"-H {_shell_header(name, value)}" for name, value in headers.items()]
    return " \\\n  ".join([f"curl -s {shlex.quote(address)}", *carried, f"-d {shlex.quote(body.decode())}"]) + "\n"


def python_snippet(url: str, model: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> str:
    """A script with the standard library alone, with the ``headers`` of the settings."""
    carried = ", ".join(f"{name!r}: {_python_value(value)}" for name, value in headers.items())
    imports = ["import json", *(["import os"] if any(map(_variable, headers.values())) else [])]
    return "\n".join(
        [
            *imports,
            "from urllib.request import Request, urlopen\n",
            f'url = "{url}/v1/models/{model}:predict"',
            *([f"headers = {{{carried}}}"] if carried else []),
            f"body = {json.loads(body)!r}",
            f"request = Request(url, data=json.dumps(body).encode(){', headers=headers' if carried else ''})",
            "with urlopen(request, timeout=60) as answer:",
            "    print(json.load(answer))\n",
        ]
    )


def grpc_obstacle(changed: ServerChanged) -> str:
    """Why nobody can ask this server through gRPC, and who can be asked; empty when it may listen there."""
    match changed.runtime:
        case "external" if changed.server != "flask":
            return ""
        case "docker" if "adopted" in changed.label:
            return ""
        case "docker" | "native":
            return (
                f"{changed.server} was started here with its REST port alone, so nothing listens for gRPC. For gRPC "
                f"start TensorFlow Serving by hand with port {GRPC_PORT} published (the docker command with -p "
                f"127.0.0.1:{GRPC_PORT}:{GRPC_PORT} added), then adopt that container."
            )
        case "embedded":
            return "The embedded server speaks REST alone. TensorFlow Serving itself (docker, native) speaks gRPC too."
        case _:
            return f"{changed.server} speaks REST alone; only TensorFlow Serving speaks gRPC."


def grpc_snippet(host: str, model: str, signature: Any, body: bytes) -> str:
    """A script for TensorFlow Serving's gRPC port; needs tensorflow and tensorflow-serving-api."""
    lines = [
        f"# Works where the server's gRPC port is published too; {GRPC_PORT} is TensorFlow Serving's default.",
        "# pip install tensorflow tensorflow-serving-api",
        "import grpc",
        "import tensorflow as tf",
        "from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc",
        "",
        f'stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("{host}:{GRPC_PORT}"))',
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


def _variable(value: str) -> str:
    """The environment variable that a header's value is taken from; empty for one that the settings give."""
    return value.removeprefix(FROM_ENVIRONMENT) if value.startswith(FROM_ENVIRONMENT) else ""


def _shell_header(name: str, value: str) -> str:
    """One word for a shell; what comes from the environment stays a reference, for a secret is in no text of ours."""
    variable = _variable(value)
    return f'{shlex.quote(f"{name}: ")}"${variable}"' if variable else shlex.quote(f"{name}: {value}")


def _python_value(value: str) -> str:
    variable = _variable(value)
    return f"os.environ[{variable!r}]" if variable else repr(value)


def _column(body: dict[str, Any], name: str) -> Any:
    """The values of one input in a row or column body."""
    if "inputs" in body:
        inputs = body["inputs"]
        return inputs[name] if isinstance(inputs, dict) else inputs
    rows = body["instances"]
    return [row[name] if isinstance(row, dict) and name in row else row for row in rows]
