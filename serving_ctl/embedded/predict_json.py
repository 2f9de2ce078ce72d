"""The JSON of a predict request: its signature, its form (row or column), and its tensors.

Row: ``{"instances": […]}``, one element a row. Column: ``{"inputs": …}``, one value an input. Checks come in the real
server's order and say what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving_ctl.embedded.json_text import json_text
from serving_ctl.embedded.lenient_json import parse
from serving_ctl.embedded.status import StatusError, invalid
from serving_ctl.embedded.tensors import NotPlain, Tensor, is_base64, plain_tensor, tensor_from_json


@dataclass(frozen=True)
class Document:
    """A request body: always a JSON object; ``signature`` is empty when the request names none."""

    members: dict[str, Any]
    signature: str


def read_document(body: bytes) -> Document:
    """The JSON object in ``body``; StatusError if it is none, or ``signature_name`` is no string."""
    members = parse(body)
    if not isinstance(members, dict):
        raise invalid(f"JSON Value: {json_text(members)} Is not object")
    signature = members.get("signature_name", "")
    if not isinstance(signature, str):
        raise format_error(members, "not formatted correctly. 'signature_name' key must be a string value.")
    return Document(members, signature)


def format_error(members: dict[str, Any], problem: str) -> StatusError:
    """An error about the whole request, which begins with the request itself."""
    return invalid(f"JSON Value: {json_text(members)} {problem}")


def read_tensors(document: Document, dtypes: Mapping[str, str]) -> tuple[dict[str, Tensor], bool]:
    """The request's tensors by input name, and whether it is in row form.

    ``dtypes`` maps the signature's inputs to TensorFlow's dtype names. Raises StatusError.
    """
    members = document.members
    if "instances" in members:
        if "inputs" in members:
            problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            raise format_error(members, problem)
        instances = members["instances"]
        if not isinstance(instances, list):
            raise format_error(members, "Excepting 'instances' to be an list/array")
        if not instances:
            raise format_error(members, "No values in 'instances' array")
        return _from_instances(instances, dtypes), True
    if "inputs" in members:
        return _from_inputs(members["inputs"], dtypes), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_inputs(value: Any, dtypes: Mapping[str, str]) -> dict[str, Tensor]:
    if not isinstance(value, dict) or is_base64(value):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        name, dtype = next(iter(dtypes.items()))
        return {name: tensor_from_json(value, dtype)}
    tensors: dict[str, Tensor] = {}
    for name, dtype in dtypes.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        tensors[name] = tensor_from_json(value[name], dtype)
    return tensors


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _from_instances(instances: list[Any], dtypes: Mapping[str, str]) -> dict[str, Tensor]:
    if not isinstance(instances[0], dict) and len(dtypes) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    named = _is_object(instances[0])
    try:
        return _whole_columns(instances, dtypes) if named else _whole_list(instances, dtypes)
    except NotPlain:
        return _Rows(dtypes).stacked(instances, named)


def _whole_list(instances: list[Any], dtypes: Mapping[str, str]) -> dict[str, Tensor]:
    name, dtype = next(iter(dtypes.items()))
    return {name: plain_tensor(instances, dtype)}


def _whole_columns(instances: list[Any], dtypes: Mapping[str, str]) -> dict[str, Tensor]:
    if set(map(type, instances)) != {dict} or set(map(len, instances)) != {len(dtypes)}:
        raise NotPlain
    try:
        columns = {name: [row[name] for row in instances] for name in dtypes}
    except KeyError:
        raise NotPlain from None
    return {name: plain_tensor(column, dtypes[name]) for name, column in columns.items()}


class _Rows:
    """Rows taken one by one, for values that are not plain lists of numbers and for the exact error."""

    def __init__(self, dtypes: Mapping[str, str]) -> None:
        self._dtypes = dtypes
        self._tensors: dict[str, list[Tensor]] = {name: [] for name in dtypes}

    def stacked(self, instances: list[Any], named: bool) -> dict[str, Tensor]:
        """All rows, stacked along a new first dimension."""
        add = self._add_object if named else self._add_value
        for index, row in enumerate(instances):
            add(index, row)
        return {name: np.stack(rows) for name, rows in self._tensors.items()}

    def _add_object(self, index: int, row: Any) -> None:
        if not _is_object(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        for name, value in row.items():
            try:
                self._add(name, value)
            except StatusError as error:
                where = f"Failed to process element: {index} key: {name} of 'instances' list."
                raise invalid(f"{where} Error: {error}") from None
        if row.keys() != self._dtypes.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {json_text(row)}"
                f" keys must be equal to: {','.join(sorted(self._dtypes))}"
            )

    def _add_value(self, index: int, row: Any) -> None:
        if _is_object(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        try:
            self._add(next(iter(self._dtypes)), row)
        except StatusError as error:
            raise invalid(f"Failed to process element: {index} of 'instances' list. Error: {error}") from None

    def _add(self, name: str, value: Any) -> None:
        if name not in self._dtypes:
            raise invalid(f"JSON object: does not have named input: {name}")
        tensor = tensor_from_json(value, self._dtypes[name])
        rows = self._tensors[name]
        if rows and rows[0].size != tensor.size:
            raise invalid(f"Expecting tensor size: {rows[0].size} but got: {tensor.size}")
        if rows and rows[0].shape != tensor.shape:
            expected, got = (f"[{','.join(map(str, shape))}]" for shape in (rows[0].shape, tensor.shape))
            raise invalid(f"Expecting shape {expected} but got: {got}")
        rows.append(tensor)
