"""An nginx that answers every request with one fixed JSON, or what a served model would say."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PREDICT = "/v1/models/m:predict"
ANSWER = {"predictions": [[0.123456, 0.876544], [0.5, 0.5], [0.1, 0.9], [0.25, 0.75]]}
CONFIG = """
worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;
events {{ worker_connections 15000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; types {{ }} default_type application/json;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port} backlog=4096; {locations} }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, answers: Mapping[str, Any] | None = None) -> Iterator[str]:
    """The base URL of an nginx with ``answers`` (JSON by path); without them every path gives ``ANSWER``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    locations = "".join(
        f"location {path} {{ return 200 '{json.dumps(answer)}'; }} "
        for path, answer in (answers or {"/": ANSWER}).items()
    )
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port, locations=locations))
    command = ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"nginx did not start: {(folder / 'error.log').read_text()}")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
