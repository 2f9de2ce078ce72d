"""A small real server that speaks the REST API of one model: enough to be measured, and to misbehave on demand."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VECTOR = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}}
METADATA = {
    "model_spec": {"name": "m", "signature_name": "", "version": "3"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "method_name": "tensorflow/serving/predict",
                    "inputs": {"x": VECTOR},
                    "outputs": {"y": VECTOR},
                }
            }
        }
    },
}
STATUS = {
    "model_version_status": [
        {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}


class PredictingServer:
    """Serves model ``m``: y = factor · x. ``fails_from`` instances a request on, it answers 500."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.delay_s = 0.0
        self.fails_from = 1 << 30
        self.encodings: set[str] = set()
        self.authorizations: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                documents = {"/v1/models/m": STATUS, "/v1/models/m/metadata": METADATA}
                self._answer(200 if self.path in documents else 404, documents.get(self.path, {"error": "unknown"}))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.encodings.add(self.headers.get("Content-Encoding", ""))
                outer.authorizations.add(self.headers.get("Authorization", ""))
                instances = json.loads(body)["instances"] if body.startswith(b"{") else []
                time.sleep(outer.delay_s)
                if len(instances) >= outer.fails_from:
                    self._answer(500, {"error": "too many"})
                else:
                    self._answer(200, {"predictions": [outer.factor * x for x in instances]})

            def _answer(self, status: int, document: object) -> None:
                body = json.dumps(document).encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

            def log_message(self, *arguments: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
