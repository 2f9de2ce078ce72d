"""Each real start-up log becomes one sentence and one fix; healthy logs none."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving_ctl.servers.doctor import deciding_line, diagnose_log, explain_end, explain_timeout
from serving_ctl.servers.running import Ending

LOGS = Path(__file__).parent / "data" / "logs"

FAULTS = {
    "bad_config_text": (
        'The ModelServerConfig file has an error in line 1, column 55: Message type "tensorflow.serving.ModelConfig"'
        ' has no field named "base_pth".',
        "Correct it in the template under configs/.",
        True,
    ),
    "bad_flag_value": (
        "--rest_api_num_threads cannot be 'many'.",
        "Give it a value of type int32 in [tf-serving].",
        True,
    ),
    "base_path_missing": (
        "Model nope has no base folder /models/nope where the server looks.",
        "Set [model] path to the folder above the version folders; in a container it must also be mounted.",
        True,
    ),
    "batching_file_without_flag": ("A batching file is given but batching is off.", "Set enable_batching", True),
    "config_file_missing": ("The server finds no file /models/nope.config.", "Check the path", True),
    "corrupt_saved_model": (
        "Version 1 of model corrupt cannot be loaded: OUT_OF_RANGE: Read less bytes than requested.",
        "The SavedModel is damaged",
        True,
    ),
    "corrupt_saved_model_no_retries": (
        "Version 1 of model corrupt cannot be loaded:",
        "The SavedModel is damaged",
        True,
    ),
    "missing_variables_no_retries": (
        "The SavedModel has no /models/missingvars/1/variables/variables.index: it loads, but predictions fail.",
        "Export the model again",
        False,
    ),
    "no_versions": (
        "There is no numeric version folder for model noversion under /models/noversion.",
        "Name the",
        True,
    ),
    "relative_base_path": (
        'The base_path of model text_cnn is "text_cnn", which is not absolute.',
        "Write the full",
        True,
    ),
    "same_ports": ("The REST port is the gRPC port", "Give rest_api_port and port different numbers.", True),
    "unknown_flag": ("The server does not know the flag --no_such_flag and started without it.", "Remove", False),
    "version_not_a_number": ("There is no numeric version folder for model textver", "Name the version folder", True),
}
HEALTHY = {"ready", "ready_by_name", "version", "warmup"}
MOVING = {"version_moves"}  # of a running server whose versions come and go, not of a start


def read(name: str) -> str:
    return (LOGS / f"{name}.log").read_text(encoding="utf-8")


def test_every_recorded_log_is_spoken_for() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(FAULTS) | HEALTHY | MOVING


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_fault_is_named_with_its_fix(name: str) -> None:
    sentence, fix, hopeless = FAULTS[name]
    found = diagnose_log(read(name))
    assert found is not None
    assert found.sentence.startswith(sentence)
    assert found.fix.startswith(fix)
    assert found.hopeless == hopeless


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_healthy_log_has_no_fault(name: str) -> None:
    assert diagnose_log(read(name)) is None


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("[2026-11-22 16:36:48 +0000] [16446] [ERROR] Connection in use: ('127.0.0.1', 7123)", "port was taken"),
        ("OSError: [Errno 28] No space left on device: '/tmp/x'", "disk is full"),
        ("/entry.sh: line 3:     7 Illegal instruction     tensorflow_model_server", "AVX"),
        ("exec /usr/bin/tf_serving_entrypoint.sh: exec format error", "another processor"),
        ("Traceback:\nModuleNotFoundError: No module named 'tensorflow'", "package tensorflow is not installed"),
        ("accept4: Too many open files", "file descriptors"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "ran out of memory"),
        ("\x1b[31mFailed to start server. Error: INTERNAL: x\x1b[0m", "refused to start: INTERNAL: x"),
    ],
)
def test_other_faults_of_a_machine(log: str, words: str) -> None:
    found = diagnose_log(log)
    assert found is not None
    assert words in found.sentence
    assert found.fix


def test_deciding_line_is_the_last_error_without_its_prefix() -> None:
    assert deciding_line("I a\n2026-11-22 14:07:40.543697: E x/y.cc:416] it failed badly\nI bye") == "it failed badly"
    assert deciding_line("one\ntwo\n\n") == "two"
    assert deciding_line("") == ""


def test_end_is_told_by_code_signal_or_memory() -> None:
    assert explain_end("flask", Ending(code=3), "nothing known") == "flask ended with exit code 3: nothing known"
    assert explain_end("flask", Ending(code=-11), "") == "flask ended by SIGSEGV: It wrote nothing."
    assert "want of memory" in explain_end("tf-serving", Ending(code=137, out_of_memory=True), "")
    assert "AVX" in explain_end("tf-serving", Ending(code=132), "")
    assert "removed by somebody else" in explain_end("tf-serving", Ending(code=None, removed=True), "")


def test_timeout_tells_the_best_reason_there_is() -> None:
    assert "no numeric version" in explain_timeout("tf-serving", 3, read("no_versions"), "x")
    assert explain_timeout("flask", 3, "I loading", "x") == "flask was not ready within 3 s; last log line: loading"
    assert explain_timeout("flask", 0.5, "", "no answer") == "flask was not ready within 0.5 s; no answer"
