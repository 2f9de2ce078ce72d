"""The answers about models: version states, and metadata from the signatures, in the real server's layout."""

from __future__ import annotations

from typing import Any

import orjson
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from serving_ctl.embedded.servable import Servable
from serving_ctl.embedded.versions import VersionState


def status_json(states: dict[int, VersionState]) -> bytes:
    """Version states, newest first; version numbers are strings as in protobuf's JSON."""
    entries: list[dict[str, Any]] = [
        {
            "version": str(version),
            "state": states[version].state,
            "status": {"error_code": states[version].code, "error_message": states[version].message},
        }
        for version in sorted(states, reverse=True)
    ]
    return orjson.dumps({"model_version_status": entries}, option=orjson.OPT_INDENT_2) + b"\n"


def metadata_json(model: str, servable: Servable) -> bytes:
    """Metadata of one version: its signatures under the doubled ``signature_def`` of the real answer."""
    spec = {"name": model, "version": str(servable.version), "signature_name": ""}
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.definitions.items():
        definitions.signature_def[name].CopyFrom(definition)
    signatures = json_format.MessageToJson(
        definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
    )
    text = orjson.dumps(spec, option=orjson.OPT_INDENT_2).decode()
    return f'{{\n"model_spec":{text}\n,\n"metadata": {{"signature_def": {signatures}\n}}\n}}\n'.encode()
