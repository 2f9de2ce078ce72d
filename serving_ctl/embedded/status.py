"""Canonical status codes, their HTTP status, and the one exception that carries them to the client."""

from __future__ import annotations

import re

# Code -> HTTP status as TensorFlow Serving maps it; the names are those of tensorflow/core/protobuf/error_codes.proto.
HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}

_CODE_NAMES = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip


# What eager execution puts around the message of the operation that failed.
_EAGER_NOTES = re.compile(r"\{\{function_node __wrapped__\S+\}\} | \[Op:\w+\] name: \Z")


class StatusError(Exception):
    """A request or a load that cannot be answered; ``str()`` reads ``CODE: message`` like TensorFlow's own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of this code."""
        return HTTP_STATUS[self.code]


def invalid(message: str) -> StatusError:
    """An INVALID_ARGUMENT error, the one almost every bad request gets."""
    return StatusError("INVALID_ARGUMENT", message)


def from_tensorflow(error: Exception) -> StatusError:
    """What TensorFlow raised, as a status: its own code, its message without Python's notes about the graph or call."""
    number = getattr(error, "error_code", None)
    message = str(getattr(error, "message", error)).split("\n\nOriginal stack trace", 1)[0]
    code = _CODE_NAMES[number] if isinstance(number, int) and 0 < number < len(_CODE_NAMES) else "UNKNOWN"
    return StatusError(code, _EAGER_NOTES.sub("", message))
