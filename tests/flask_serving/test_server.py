"""The running server: faults, limits, timing header, processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import psutil
import pytest


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/half_plus_two", 404),
        ("OPTIONS", "/v1/models/half_plus_two:predict", 400),
        ("GET", "/v1/models/half_plus_two:classify", 400),
        ("GET", "/v1//models/half_plus_two", 400),
        ("PUT", "/", 404),
        ("GET", "/v1/models/half_plus_two/versions/1", 404),
    ],
)
def test_every_wrong_path_and_method_is_answered_in_json(serving, method, path, status):
    answer = serving("half_plus_two").ask(method, path)
    assert answer.status == status
    assert set(answer.json) == {"error"}


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(serving):
    server = serving("fixed_batch")
    answer = server.predict("fixed_batch", {"instances": [[1, 2, 3]]})
    assert answer.status == 400
    assert answer.json == {"error": 'Input "x" has shape [1,3], but signature "serving_default" takes [2,3]'}
    assert server.predict("fixed_batch", {"signature_name": "scalar", "inputs": [1.0]}).status == 400


def test_row_answers_need_rows(serving):
    # The scalar signature has no row form: the answer has no first dimension to cut along.
    answer = serving("fixed_batch").predict("fixed_batch", {"signature_name": "scalar", "instances": [1.0]})
    assert answer.status == 400


def test_init_op_is_no_signature_to_call(serving):
    body = {"signature_name": "__saved_model_init_op", "instances": [1.0]}
    answer = serving("half_plus_two").predict("half_plus_two", body)
    assert answer.status == 400
    assert "__saved_model_init_op" in answer.json["error"]


def test_graph_refusal_is_the_clients_fault(serving):
    # Both shapes fit their inputs, but not each other.
    body = {"inputs": {"a": [[1, 2], [3, 4]], "b": [[0.5], [0.5], [0.5]]}}
    answer = serving("two_in_two_out").predict("two_in_two_out", body)
    assert answer.status == 400
    assert "Incompatible shapes" in answer.json["error"]


def test_infinity_in_and_out(serving):
    body = b'{"inputs": {"flag": [true], "i64": [1], "u8": [1], "f64": [-Infinity]}}'
    answer = serving("kinds").predict("kinds", body)
    assert b"-Infinity" in answer.body
    assert answer.json["outputs"]["inverse"] == [0.0]


def test_predict_says_its_times_and_worker(serving):
    server = serving("half_plus_two")
    timing = server.predict("half_plus_two", {"instances": [1.0]}).headers["Server-Timing"]
    hit = re.fullmatch(
        r"decode;dur=\d+\.\d{3,}, infer;dur=\d+\.\d{3,}, encode;dur=\d+\.\d{3,}, worker;desc=(\d+)", timing
    )
    assert int(hit[1]) in server.worker_pids


def test_body_limit_holds_plain_packed_and_chunked(start, golden):
    server = start(golden / "half_plus_two", TFSERVE_MAX_BODY_BYTES="1000").wait_ready()
    long = json.dumps({"instances": [1.0] * 1000}).encode()
    path = "/v1/models/half_plus_two:predict"
    answers = [
        server.ask("POST", path, long),
        server.predict("half_plus_two", long, packed=True),
        server.ask("POST", path, iter([long])),  # an iterator goes out in chunks
    ]
    assert [answer.status for answer in answers] == [413, 413, 413]
    assert answers[0].json == {"error": "The body is longer than 1000 bytes (TFSERVE_MAX_BODY_BYTES)"}
    assert server.predict("half_plus_two", {"instances": [1.0] * 100}).status == 200


def test_gzip_that_is_none_is_refused(serving):
    headers = {"Content-Encoding": "gzip"}
    answer = serving("half_plus_two").ask("POST", "/v1/models/half_plus_two:predict", b'{"instances": [1]}', headers)
    assert answer.status == 400
    assert "gzip" in answer.json["error"]


def test_each_worker_loads_once_after_the_fork(start, golden, tmp_path):
    server = start(
        golden / "half_plus_two" / "2",
        workers=2,
        TFSERVE_MODEL_NAME="other",
        TFSERVE_WORKER_COUNTS=str(tmp_path),
    ).wait_ready()
    answers = [server.predict("other", {"instances": [1.0]}) for _ in range(20)]
    assert [answer.json for answer in answers] == [{"predictions": [3.5]}] * 20
    assert server.log.count("] Loaded other version 2") == 2
    assert len(server.worker_pids) == 2
    counts = [int((tmp_path / str(pid)).read_text()) for pid in server.worker_pids if (tmp_path / str(pid)).exists()]
    assert sum(counts) == 20
    assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.skipif(not hasattr(psutil.Process, "memory_maps"), reason="needs the maps of another process")
def test_the_arbiter_never_loads_tensorflow(serving):
    server = serving("half_plus_two")
    assert not loads_tensorflow(server.process.pid)
    assert all(map(loads_tensorflow, server.worker_pids))


def loads_tensorflow(pid: int) -> bool:
    return any("tensorflow" in mapped.path for mapped in psutil.Process(pid).memory_maps())


def test_import_loads_neither_flask_nor_tensorflow():
    code = "import sys, flask_serving, flask_serving.settings; print({'flask', 'tensorflow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def empty(folder):
    folder.mkdir()


def without_graph(folder):
    (folder / "1").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "environment", "text"),
    [
        (lambda folder: None, {}, "no model folder"),
        (empty, {}, "no version in"),
        (without_graph, {}, "no saved_model.pb in"),
        (lambda folder: None, {"TFSERVE_MAX_BODY_BYTES": "lots"}, "TFSERVE_MAX_BODY_BYTES='lots'"),
    ],
)
def test_a_start_that_cannot_succeed_is_one_line(start, tmp_path, make, environment, text):
    make(tmp_path / "model")
    server = start(tmp_path / "model", **environment)
    assert server.wait_exit() == 1
    assert server.log.startswith("flask_serving: ")
    assert text in server.log
    assert server.log.count("\n") == 1


def test_without_the_extra_the_start_names_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'tensorflow' else find(name, *rest)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "--no-control-socket", "flask_serving:app"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "flask_serving needs tfserve-tui[local]; not installed here: tensorflow\n"


def test_a_model_that_cannot_be_loaded_is_said_once_and_stops_the_server(start, tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "saved_model.pb").write_bytes(b"not a graph")
    server = start(tmp_path / "model", workers=2)
    assert server.wait_exit() == 3
    assert server.log.count("cannot load model version 1 from") == 1
    assert "Traceback" not in server.log
