"""Every recorded exchange with the real server, sent to ours byte for byte over a raw socket."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

TRANSCRIPTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "rest-transcripts.json").read_text()
)


def value(text: str) -> Any:
    """The JSON value of a body, or its text; bytes that are no UTF-8 were recorded as \\xNN."""
    try:
        return json.loads(text.replace("\\x", "\\\\x"))
    except ValueError:
        return text


@pytest.mark.parametrize("recorded", TRANSCRIPTS, ids=[recorded["name"] for recorded in TRANSCRIPTS])
def test_answers_as_the_real_server_did(server: Any, recorded: dict[str, Any]) -> None:
    packed = recorded.get("body_base64")
    body = base64.b64decode(packed) if packed else (recorded.get("body") or "").encode()
    reply = server.send(recorded["method"], recorded["path"], body, recorded["headers"])
    expected = recorded["response"]
    assert (reply.status, reply.headers["content-type"]) == (expected["status"], expected["content_type"])
    # repr, because NaN is not equal to itself; sorted, because the real server's order of outputs changes
    answered = json.dumps(value(reply.body.decode("utf-8", "backslashreplace")), sort_keys=True)
    assert answered == json.dumps(value(expected["body"]), sort_keys=True)


def test_version_status_is_told_by_label_for_all_versions(server: Any) -> None:
    everything = server.send("GET", "/v1/models/half_plus_two").body
    assert server.send("GET", "/v1/models/half_plus_two/labels/stable").body == everything
