"""A real HTTP server that gives the recorded answers of TensorFlow Serving."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
Answer = tuple[int, str, bytes]


def transcript_answers() -> dict[tuple[str, str, bytes], Answer]:
    """Recorded answers by (method, path, request body)."""
    recorded = json.loads((TESTS / "data" / "rest-transcripts.json").read_text(encoding="utf-8"))
    return {
        (item["method"], item["path"], (item.get("body") or "").encode()): (
            item["response"]["status"],
            item["response"]["content_type"],
            item["response"]["body"].encode(),
        )
        for item in recorded
        if not item["headers"].get("Content-Encoding")
    }


@pytest.fixture
def serve():
    """Start a server on a free port; ``answer(method, path, body)`` gives status, content type and body."""
    servers = []

    def start(answer: Callable[[str, str, bytes], Answer | None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = answer(self.command, self.path, body)
                if found is None:
                    self.close_connection = True
                    return
                status, kind, text = found
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = _respond  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                """Keep the test's output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def recorded_server(serve):
    """TensorFlow Serving as recorded: models of ``golden_models.py``, the text CNN's metadata, metrics."""
    answers = transcript_answers()
    cnn = (TESTS / "data" / "metadata-text_cnn.json").read_bytes()
    metrics = (TESTS / "data" / "metrics-after.txt").read_bytes()
    answers["GET", "/v1/models/text_cnn/metadata", b""] = (200, "application/json", cnn)
    answers["GET", "/monitoring/prometheus/metrics", b""] = (200, "text/plain", metrics)
    return serve(lambda method, path, body: answers[method, path, body])
