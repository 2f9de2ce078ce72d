"""A scripted stand-in for tensorflow_model_server: same flags, REST shape and log lines, no model.

Standard library only: it runs in the stand-in image and as the native binary. What it does wrong is written in
``standin.json`` in the model's base folder (see ``Script``). With ``--version`` it speaks as the real one.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

METADATA_SIGNATURE = {
    "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}}},
    "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}}},
    "method_name": "tensorflow/serving/predict",
}

# In the layout of the real one, which ends with 255 after it; the last flag is in no release.
HELP = """usage: tensorflow_model_server
Flags:
\t--port=8500                      \tint32\tTCP port to listen on for gRPC/HTTP API.
\t--enable_batching=false          \tbool\tenable batching
\t--batching_parameters_file=""    \tstring\tIf non-empty, read an ascii BatchingParameters protobuf.
\t--max_num_load_retries=5         \tint32\tmaximum number of times it retries loading a model
\t--standin_patience=1.500000      \tfloat\tknown to the stand-in only
"""


class Script:
    """What to do: log (text to write), exit (code to end with after it), delay_s before listening, never_ready,
    predict_status and predict_error, exit_on_predict (code, after good_predicts), hog_on_predict (MB, likewise), flood
    (log lines), hog_mb of memory, deaf (no port), ignore_sigterm, argv (write the arguments to the log)."""

    def __init__(self, folder):
        path = folder / "standin.json"
        given = json.loads(path.read_text()) if path.exists() else {}
        self.log = given.get("log", "")
        self.exit = given.get("exit")
        self.delay_s = given.get("delay_s", 0)
        self.never_ready = given.get("never_ready", False)
        self.predict_status = given.get("predict_status", 200)
        self.predict_error = given.get("predict_error", "scripted")
        self.exit_on_predict = given.get("exit_on_predict")
        self.good_predicts = given.get("good_predicts", 0)
        self.flood = given.get("flood", 0)
        self.hog_mb = given.get("hog_mb", 0)
        self.deaf = given.get("deaf", False)
        self.hog_on_predict = given.get("hog_on_predict", 0)
        self.ignore_sigterm = given.get("ignore_sigterm", False)
        self.argv = given.get("argv", False)


def flags(argv):
    """Later flags win, as in the real server."""
    return dict(word.lstrip("-").split("=", 1) for word in argv if "=" in word)


def served_model(given):
    """Name and base path, from the config file or the flags."""
    if "model_config_file" not in given:
        return given["model_name"], Path(given["model_base_path"])
    text = Path(given["model_config_file"]).read_text()
    name, base = (re.search(rf'{field}: "(.*?)"', text)[1] for field in ("name", "base_path"))
    return name, Path(base)


def make_handler(name, script):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet: two of them wait for each other's acknowledgement

        def do_GET(self):
            if self.path == f"/v1/models/{name}":
                state = "LOADING" if script.never_ready else "AVAILABLE"
                status = {"version": "1", "state": state, "status": {"error_code": "OK", "error_message": ""}}
                self.answer(200, {"model_version_status": [status]})
            elif self.path == f"/v1/models/{name}/metadata":
                signatures = {"signature_def": {"serving_default": METADATA_SIGNATURE}}
                spec = {"name": name, "signature_name": "", "version": "1"}
                self.answer(200, {"model_spec": spec, "metadata": {"signature_def": signatures}})
            else:
                self.answer(404, {"error": f"no such path {self.path}"})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.good_predicts -= 1
            if script.exit_on_predict is not None and script.good_predicts < 0:
                os._exit(script.exit_on_predict)
            if script.hog_on_predict and script.good_predicts < 0:
                script.hoard = bytearray(os.urandom(1 << 20)) * script.hog_on_predict
            if script.predict_status != 200:
                self.answer(script.predict_status, {"error": script.predict_error})
            else:
                self.answer(200, {"predictions": [2 * value for value in body["instances"]]})

        def answer(self, status, document):
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words):
            """The real server logs no requests."""

    return Handler


def say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main():
    given = flags(sys.argv[1:])
    if "--version" in sys.argv:
        sys.stdout.write("TensorFlow ModelServer: 2.20.0+standin.sha.no_git\nTensorFlow Library: 2.20.0\n")
        return 0
    if "--help" in sys.argv:
        sys.stdout.write(HELP)
        return 255
    name, base = served_model(given)
    script = Script(base)
    if script.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if script.argv:
        say(" ".join(sys.argv[1:]))
        if "batching_parameters_file" in given:
            say("batching: " + Path(given["batching_parameters_file"]).read_text())
    say(f"I server_core.cc:645]  (Re-)adding model: {name}")
    if script.log:
        say(script.log)
    for number in range(script.flood):
        say(f"W flood.cc:1] line {number} {'x' * 100}")
    if script.exit is not None:
        return script.exit
    hoard = bytearray(os.urandom(1 << 20)) * script.hog_mb
    if script.deaf:
        threading.Event().wait()
    time.sleep(script.delay_s)
    port = int(given["rest_api_port"])
    server = ThreadingHTTPServer(("0.0.0.0", port), make_handler(name, script))
    say(f"I loader_harness.cc:104] Successfully loaded servable version {{name: {name} version: 1}}")
    say(f"I server.cc:451] Exporting HTTP/REST API at:localhost:{port} ... {len(hoard)}")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
