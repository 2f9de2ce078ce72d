"""flask_serving against a 20-line Flask app around the same callable: p50 of each, and the ratio (aim <= 1.05).

All run under gunicorn with the same number of workers and the same model, in the same minute: rounds AB BA (rule
R16), a fresh connection for each request, timed from the connect to the last byte. The model is TFSERVE_MODEL_DIR,
else release/text_cnn. The 20 lines check nothing and know one form of one signature. They stand here twice: with
Flask's own JSON, as one writes them, and with orjson, which flask_serving uses too. Needs a machine that is idle.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
ROUNDS = 16
T_QUANTILE = 2.131  # Student's t, 97.5 %, ROUNDS - 1 degrees of freedom
BATCHES = {1: 100, 1000: 10}  # rows: requests a round
AIM = 1.05

PLAIN_APP = """
import numpy as np
import orjson
from flask import Flask, Response, request
from flask_serving.model import load
from flask_serving.settings import Settings, find_model

settings = Settings.from_environment()
signature = load(find_model(settings), settings).signatures["serving_default"]
((name, spec),) = signature.inputs.items()
app = Flask(__name__)


@app.post("/flask-json")
def flask_json():
    (scores,) = signature.run([np.array(request.get_json()["instances"], spec.dtype)]).values()
    return {"predictions": scores.tolist()}


@app.post("/orjson")
def with_orjson():
    rows = orjson.loads(request.get_data())["instances"]
    (scores,) = signature.run([np.array(rows, spec.dtype)]).values()
    return Response(orjson.dumps({"predictions": scores.tolist()}), mimetype="application/json")
"""


@dataclass(frozen=True)
class Server:
    """A running gunicorn: its port, the path that predicts, and where it logs."""

    port: int
    path: str
    log: Path

    def request_s(self, body: bytes) -> float:
        """Seconds from the connect to the last byte of a good answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        begin = time.perf_counter()
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != http.client.OK:
                sys.exit(f"{self.path} answered {answer.status}: {content[:300]!r}; log: {self.log}")
            return time.perf_counter() - begin
        finally:
            connection.close()


@contextmanager
def gunicorn(app: str, path: str, folder: Path, log: Path) -> Iterator[Server]:
    """A gunicorn with `folder` as its working folder, stopped at the end."""
    options = ["-w", str(WORKERS), "-b", "127.0.0.1:0", "--timeout", "600", "--no-control-socket"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, app],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=out,
        )
    try:
        yield Server(_port(process, log), path, log)
    finally:
        process.terminate()
        process.wait(60)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    while True:
        if hit := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace")):
            return int(hit[1])
        if process.poll() is not None:
            sys.exit(log.read_text(errors="replace").strip() or "gunicorn ended without a word")
        time.sleep(0.05)


def body_of(ours: Server, model: str, rows: int) -> bytes:
    """A predict body of `rows` rows for the model's default signature, from its metadata."""
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=120)
    connection.request("GET", f"/v1/models/{model}/metadata")
    metadata = json.load(connection.getresponse())["metadata"]
    connection.close()
    inputs = metadata["signature_def"]["signature_def"]["serving_default"]["inputs"]
    if len(inputs) != 1:
        sys.exit("this benchmark needs a model whose default signature has one input")
    (tensor,) = inputs.values()
    width = math.prod(max(1, int(dim["size"])) for dim in tensor["tensor_shape"]["dim"][1:])
    seeded = random.Random(0)
    kinds: dict[str, Callable[[], object]] = {"DT_FLOAT": seeded.random, "DT_STRING": lambda: "a film that is good"}
    value = kinds.get(tensor["dtype"], lambda: seeded.randrange(100))
    flat = len(tensor["tensor_shape"]["dim"]) == 1
    instances = [value() if flat else [value() for _ in range(width)] for _ in range(rows)]
    return json.dumps({"instances": instances}).encode()


def round_ms(servers: list[Server], body: bytes, count: int) -> dict[str, float]:
    """Each server's median request time in milliseconds, one server after the other, as a cell is measured (R16).

    The first tenth of the requests is thrown away: the others have pushed this server out of the processor's caches.
    """
    p50 = {}
    for server in servers:
        times = [server.request_s(body) for _ in range(count + count // 10)]
        p50[server.path] = statistics.median(times[count // 10 :]) * 1e3
    return p50


def interval(logs: list[float]) -> str:
    """The ratio whose logarithm each round measured, with its 95 % interval (rule R16)."""
    mean, half = statistics.mean(logs), T_QUANTILE * statistics.stdev(logs) / math.sqrt(ROUNDS)
    verdict = "met" if math.exp(mean) <= AIM else "NOT met"
    return f"{math.exp(mean):.3f} ({math.exp(mean - half):.3f} – {math.exp(mean + half):.3f}) aim {verdict}"


def report(servers: list[Server], body: bytes, rows: int, count: int) -> None:
    round_ms(servers, body, 40)
    rounds = [round_ms(servers[:: 1 if number % 2 else -1], body, count) for number in range(ROUNDS)]
    ours, *references = (server.path for server in servers)
    for reference in references:
        p50 = [statistics.geometric_mean(times[path] for times in rounds) for path in (ours, reference)]
        ratio = interval([math.log(times[ours] / times[reference]) for times in rounds])
        print(f"{rows:>6}  {p50[0]:>14.3f} ms  20 lines{reference:<12} {p50[1]:>9.3f} ms  {ratio}")


def main() -> None:
    model_dir = (ROOT / os.environ.get("TFSERVE_MODEL_DIR", "release/text_cnn")).resolve()
    if not model_dir.is_dir():
        sys.exit(f"no model in {model_dir}: run `.venv/bin/textcnn-export --out release` or set TFSERVE_MODEL_DIR")
    os.environ |= {"TFSERVE_MODEL_DIR": str(model_dir), "TFSERVE_MODEL_NAME": "model"}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "plain.py").write_text(PLAIN_APP)
        path = "/v1/models/model:predict"
        ours = stack.enter_context(gunicorn("flask_serving:app", path, ROOT, folder / "ours.log"))
        plain = stack.enter_context(gunicorn("plain:app", "/flask-json", folder, folder / "plain.log"))
        servers = [ours, plain, replace(plain, path="/orjson")]
        print(f"{model_dir}, {WORKERS} gunicorn workers each, {ROUNDS} rounds, p50, aim: ratio <= {AIM}")
        print(f"{'batch':>6}  {'flask_serving':>17}  {'reference':<20} {'p50':>12}  ratio (95 % interval)")
        for rows, count in BATCHES.items():
            report(servers, body_of(ours, "model", rows), rows, count)


if __name__ == "__main__":
    main()
