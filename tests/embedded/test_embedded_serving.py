"""What predictions carry and count: Server-Timing, Prometheus metrics, batching, warm-up, timeouts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving_ctl.api.prometheus import parse_scrape
from serving_ctl.embedded.batching import _merge, _Task
from serving_ctl.embedded.config_files import read_batching
from serving_ctl.embedded.status import StatusError

SERVING = ":tensorflow:serving:"
METRICS = "/monitoring/prometheus/metrics"


def samples(server: Any) -> dict[str, float]:
    """Every sample of the metrics page by its name and labels, as they stand there."""
    reply = server.send("GET", METRICS)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain")
    lines = [line for line in reply.text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_server_timing_in_milliseconds(server: Any) -> None:
    timing = server.predict("half_plus_two", '{"instances": [1.0]}').headers["server-timing"]
    assert re.fullmatch(r"decode;dur=[\d.]+, infer;dur=[\d.]+, encode;dur=[\d.]+", timing)
    assert "server-timing" not in server.send("GET", "/v1/models/half_plus_two").headers


def test_what_is_counted(server: Any) -> None:
    latency = SERVING + 'request_latency_count{model_name="text",API="predict",entrypoint="REST"}'
    polls = SERVING + 'request_latency_count{model_name="text",API="",entrypoint="REST"}'
    runs = SERVING + 'runtime_latency_count{model_name="text",API="Predict",runtime="TF1"}'
    fine = SERVING + 'request_count{model_name="text",status="OK"}'
    wrong = SERVING + 'request_count{model_name="text",status="INVALID_ARGUMENT"}'
    graph = ":tensorflow:core:graph_runs{}"
    before = samples(server)
    for _ in range(3):
        assert server.predict("text", '{"instances": ["a"]}').status == 200
    assert server.predict("text", '{"instances": [1]}').status == 400
    assert server.send("GET", "/v1/models/text").status == 200
    after = samples(server)
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in (latency, polls, runs, fine, wrong, graph)}
    assert grown == {latency: 3, polls: 1, runs: 3, fine: 4, wrong: 1, graph: 3}
    total, ran = latency.replace("_count", "_sum"), runs.replace("_count", "_sum")
    assert after[total] - before.get(total, 0) >= after[ran] - before.get(ran, 0) > 0
    page = server.send("GET", METRICS).text
    scrape = parse_scrape(page, "text")
    assert (scrape.requests, scrape.runs, scrape.graph_runs) == (after[latency], after[runs], after[graph])
    assert scrape.request_us >= scrape.run_us > 0 < scrape.graph_us
    assert after[":tensorflow:core:graph_run_time_usecs{}"] > before.get(":tensorflow:core:graph_run_time_usecs{}", 0)
    assert after[latency.replace("_count{", "_bucket{").replace("}", ',le="+Inf"}')] == after[latency]


def test_names_and_buckets_are_the_real_ones(server: Any) -> None:
    """Every series of ours that the real page has too, has the real one's labels and bucket limits."""
    server.predict("half_plus_two", '{"instances": [1.0]}')
    limits = re.findall(rf'{SERVING}request_latency_bucket{{model_name="half_plus_two",API="predict".*le="(.+)"}}',
                        server.send("GET", METRICS).text)  # fmt: skip
    assert limits[:5] == ["10", "18", "32.4", "58.32", "104.976"]
    assert limits[-2:] == ["1.47476e+09", "+Inf"]


def batched(start: Callable[..., Any], golden: Path, monitoring: Path, parameters: str, tmp_path: Path) -> Any:
    path = tmp_path / "batching.config"
    path.write_text(parameters)
    return start(
        "--model_name=half_plus_two",
        f"--model_base_path={golden / 'half_plus_two'}",
        f"--monitoring_config_file={monitoring}",
        "--enable_batching=true",
        f"--batching_parameters_file={path}",
        "--rest_api_num_threads=16",
    ).ready()


def test_batching(start: Callable[..., Any], golden: Path, monitoring: Path, tmp_path: Path) -> None:
    parameters = """max_batch_size { value: 8 } batch_timeout_micros { value: 200000 } max_enqueued_batches { value: 1 }
                    num_batch_threads { value: 2 } allowed_batch_sizes: 4 allowed_batch_sizes: 8"""
    server = batched(start, golden, monitoring, parameters, tmp_path)

    def ask(rows: list[float]) -> Any:
        return server.predict("half_plus_two", json.dumps({"instances": rows}))

    too_many = ask([1.0] * 9)
    assert too_many.status == 400
    assert json.loads(too_many.body)["error"] == "Task size 9 is larger than maximum input batch size 8"
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(ask, [[float(number)] for number in range(8)]))
        assert [json.loads(reply.body)["predictions"] for reply in replies] == [[n / 2 + 3] for n in range(8)]
        assert json.loads(ask([1.0, 2.0, 3.0]).body)["predictions"] == [3.5, 4.0, 4.5]
        counted = samples(server)
        batching = SERVING + "batching_session:"
        assert counted[batching + "input_batch_size_sum{}"] == 11
        assert counted[batching + "queuing_latency_count{}"] == 9
        assert counted[batching + "processed_batch_size_count{}"] < 9
        padded = counted[batching + "processed_batch_size_sum{}"] - counted[batching + "input_batch_size_sum{}"]
        assert padded == counted[batching + "padding_size_sum{}"] >= 1
        full: list[Any] = []

        def refused() -> bool:
            full.extend(reply for reply in clients.map(ask, [[1.0] * 5] * 8) if reply.status != 200)
            return bool(full)

        server.wait_for(refused, "a full queue refuses")
    assert {reply.status for reply in full} == {503}
    assert "The batch scheduling queue to which this task was submitted is full" in full[0].text
    assert "currently there are 1 batches enqueued" in full[0].text


def test_a_model_may_bring_its_own_batching_parameters(start: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    """With the flag, a model without parameters of its own is not batched at all."""
    for name in ("own", "none"):
        shutil.copytree(golden / "half_plus_two" / "1", tmp_path / name / "1")
    (tmp_path / "own" / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    (tmp_path / "batching").write_text("max_batch_size { value: 8 } num_batch_threads { value: 1 }")
    entries = [f'config {{ name: "{name}" base_path: "{tmp_path / name}" }}' for name in ("own", "none")]
    (tmp_path / "models").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    server = start(
        f"--model_config_file={tmp_path / 'models'}",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching'}",
        "--enable_per_model_batching_parameters",
    ).ready()
    refused = server.predict("own", '{"instances": [1.0, 2.0, 3.0]}')
    assert refused.status == 400
    assert json.loads(refused.body)["error"] == "Task size 3 is larger than maximum input batch size 2"
    assert json.loads(server.predict("own", '{"instances": [1.0, 2.0]}').body) == {"predictions": [2.5, 3.0]}
    assert server.predict("none", json.dumps({"instances": [1.0] * 9})).status == 200


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]", "must be monotonically increasing"),
        ("max_batch: 3", 'Message type "tensorflow.serving.BatchingParameters" has no field named "max_batch"'),
    ],
)
def test_batching_parameters_that_cannot_be_used(tmp_path: Path, parameters: str, words: str) -> None:
    path = tmp_path / "batching"
    path.write_text(parameters)
    with pytest.raises(StatusError, match=words):
        read_batching(str(path))


def test_sizes_below_zero_are_no_limit_and_one_batch_may_always_wait(tmp_path: Path) -> None:
    """As the real server's unsigned numbers have it, and its rule for a queue of none."""
    path = tmp_path / "batching"
    path.write_text("max_batch_size { value: -1 } max_enqueued_batches { value: 0 }")
    parameters = read_batching(str(path))
    assert (parameters.max_batch_size, parameters.max_enqueued_batches) == (2**64 - 1, 1)
    path.write_text("max_enqueued_batches { value: -2 }")
    assert read_batching(str(path)).max_enqueued_batches == 2**64 - 2


def test_rows_of_different_lengths_are_padded_only_when_asked() -> None:
    rows = {"x": [np.ones((2, 1), np.float32), np.ones((1, 3), np.float32)]}
    rows["s"] = [np.full(part.shape, b"a", object) for part in rows["x"]]
    tasks = [_Task({name: parts[index] for name, parts in rows.items()}, 2 - index, 0.0) for index in (0, 1)]
    merged = _merge(tasks, 1, pad=True)
    assert merged["x"].tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]]
    assert merged["s"].tolist()[1:3] == [[b"a", b"", b""], [b"a", b"a", b"a"]]
    with pytest.raises(StatusError, match="have different shapes and padding is turned off"):
        _merge(tasks, 0, pad=False)


WRITE_WARMUP = """
import sys
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
for folder, count, value in ((sys.argv[1], 3, 1.0), (sys.argv[2], 1, "text")):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([value]))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    tf.io.gfile.makedirs(folder + "/assets.extra")
    with tf.io.TFRecordWriter(folder + "/assets.extra/tf_serving_warmup_requests") as writer:
        for _ in range(count):
            writer.write(log.SerializeToString())
"""


def test_warmup(start: Callable[..., Any], golden: Path, monitoring: Path, tmp_path: Path) -> None:
    base = tmp_path / "half_plus_two"
    shutil.copytree(golden / "half_plus_two" / "1", base / "1")
    shutil.copytree(golden / "half_plus_two" / "2", tmp_path / "2")
    command = [sys.executable, "-c", WRITE_WARMUP, str(base / "1"), str(tmp_path / "2")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    server = start(
        "--model_name=half_plus_two",
        f"--model_base_path={base}",
        f"--monitoring_config_file={monitoring}",
        "--max_num_load_retries=0",
    ).ready()
    assert "Number of warmup records read: 3." in server.log
    assert samples(server)[SERVING + 'model_warmup_records_read{model_name="half_plus_two"}'] == 3
    assert "deprecated" not in server.log
    (tmp_path / "2").rename(base / "2")
    server.wait_for(lambda: "version: 2} cannot be loaded: INVALID_ARGUMENT" in server.log, "a bad warm-up request")
    shutil.copytree(base / "1", tmp_path / "3")
    requests = tmp_path / "3" / "assets.extra" / "tf_serving_warmup_requests"
    requests.write_bytes(requests.read_bytes()[:-5])
    (tmp_path / "3").rename(base / "3")
    cut = "version: 3} cannot be loaded: DATA_LOSS: truncated record at "
    server.wait_for(lambda: cut in server.log, "a damaged warm-up file")
    assert "IteratorGetNext" not in server.log
    assert server.predict("half_plus_two", '{"instances": [4.0]}').text.count("4.0") == 1


@pytest.mark.parametrize("model", ["half_plus_two", "two_in_two_out", "text", "kinds", "classic"])
def test_metadata_describes_what_predict_takes(server: Any, model: str) -> None:
    """What the metadata calls an input, a column request may name; all golden models are driven through it."""
    reply = json.loads(server.send("GET", f"/v1/models/{model}/metadata").body)
    definitions = reply["metadata"]["signature_def"]["signature_def"]
    name = "predict" if model == "classic" else "serving_default"
    values = {"DT_BOOL": True, "DT_STRING": "a"}
    inputs = {}
    for key, info in definitions[name]["inputs"].items():
        value: Any = values.get(info["dtype"], 1)
        for dim in reversed(info["tensor_shape"]["dim"]):
            value = [value] * max(int(dim["size"]), 1)
        inputs[key] = value
    answer = server.predict(model, json.dumps({"signature_name": name, "inputs": inputs}))
    assert answer.status == 200, answer.text
    outputs = json.loads(answer.body)["outputs"]
    names = set(definitions[name]["outputs"])
    assert names == set(outputs) if len(names) > 1 else outputs
