"""Versions come and go: the recorded moves of the real server, policies, labels, config reload, failed loads."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving_ctl.embedded.catalog import Catalog, WatchSettings
from serving_ctl.embedded.config_files import ModelConfig, read_models
from serving_ctl.embedded.status import StatusError

MOVES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "version-moves.json").read_text())
ORDER = ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
BODY = b'{"instances": [4.0]}'
MODEL = "/v1/models/half_plus_two"


def put(source: Path, target: Path) -> None:
    """A version folder appears whole, as an exporter's rename makes it appear."""
    staged = target.parent.parent / f"staged-{target.name}"
    shutil.copytree(source, staged)
    staged.rename(target)


def corrupt(base: Path, source: Path) -> None:
    staged = base.parent / "staged-corrupt"
    shutil.copytree(source, staged)
    (staged / "saved_model.pb").write_bytes(b"\xff" * 100)
    staged.rename(base / "3")


def not_versions(base: Path, source: Path) -> None:
    put(source, base / "00000004")
    put(source, base / "notaversion")


def nothing_left(base: Path, _source: Path) -> None:
    for folder in list(base.iterdir()):
        shutil.rmtree(folder)


STEPS: dict[str, Callable[[Path, Path], None]] = {
    "start: version 1 alone, policy latest 1": lambda base, source: None,
    "version 2 appears": lambda base, source: put(source.parent / "2", base / "2"),
    "a corrupt version 3 appears": corrupt,
    "version 3 is removed": lambda base, source: shutil.rmtree(base / "3"),
    "version 2 is removed": lambda base, source: shutil.rmtree(base / "2"),
    "folders 'notaversion' and '00000004' appear": not_versions,
    "no version is left": nothing_left,
}


def states(server: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.send("GET", MODEL).body)["model_version_status"]
    return found


def test_moves_as_the_real_server_did(start: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    base = tmp_path / "half_plus_two"
    source = golden / "half_plus_two" / "1"
    shutil.copytree(source, base / "1")
    server = start("--model_name=half_plus_two", f"--model_base_path={base}", "--max_num_load_retries=0").ready()
    for step in MOVES:
        STEPS[step["step"]](base, source)
        expected = [move["body"]["model_version_status"] for move in step["status_moves"]]
        seen = [states(server)]

        def settled(seen: list[Any] = seen, last: Any = expected[-1]) -> bool:
            now = states(server)
            if now != seen[-1]:
                seen.append(now)
            return bool(now == last)

        server.wait_for(settled, step["step"])
        assert [move for move in seen if move in expected] == [move for move in expected if move in seen]
        assert_each_version_moves_forward(seen)
        for path, answer in step["predict_after"].items():
            reply = server.send("POST", MODEL + path, BODY)
            assert reply.status == answer["status"]
            assert json.loads(reply.body) == json.loads(answer["body"])


def assert_each_version_moves_forward(seen: list[list[dict[str, Any]]]) -> None:
    """Between two answers a version never goes back, but for one at its end that starts again."""
    for before, after in itertools.pairwise(seen):
        old = {entry["version"]: entry["state"] for entry in before}
        for entry in after:
            was = old.get(entry["version"], "START")
            assert ORDER.index(entry["state"]) >= ORDER.index(was) or was == "END"


def config(name: str, base: Path, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}'


def test_config_reload_adds_removes_and_relabels(start: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    half, text = golden / "half_plus_two", golden / "text"
    path = tmp_path / "models.config"
    path.write_text(f"model_config_list {{ {config('a', half, 'model_version_policy { all {} }')} }}")
    server = start(f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=1").ready()
    assert json.loads(server.send("POST", "/v1/models/a/versions/1:predict", BODY).body) == {"predictions": [4.0]}
    labelled = 'model_version_policy { all {} } version_labels { key: "stable" value: 2 }'
    path.write_text(f"model_config_list {{ {config('a', half, labelled)} {config('b', text)} }}")
    server.wait_for(lambda: server.predict("b", '{"instances": ["x"]}').status == 200, "b is served")
    reply = server.send("POST", "/v1/models/a/labels/stable:predict", BODY)
    assert json.loads(reply.body) == {"predictions": [5.0]}
    path.write_text("model_config_list { this is no config }")
    server.wait_for(lambda: "the last good one stays" in server.log, "the broken config is refused")
    assert server.predict("b", '{"instances": ["x"]}').status == 200
    path.write_text(f"model_config_list {{ {config('b', text)} }}")
    server.wait_for(lambda: server.predict("a", BODY).status == 404, "a is gone")
    ended = '"state": "END"'
    server.wait_for(lambda: server.send("GET", "/v1/models/a").text.count(ended) == 2, "both versions of a have ended")


def test_labels_wait_for_available_versions_unless_allowed() -> None:
    """At the start no version is available yet, so the real server refuses every label without the flag."""

    def read() -> list[ModelConfig]:
        return [ModelConfig("a", "/models/a", labels={"stable": 2})]

    def load(model: str, version: int, path: Path) -> Any:
        raise AssertionError(f"{model} {version} {path} is not to be loaded")

    with pytest.raises(StatusError, match="FAILED_PRECONDITION: Request to assign label to version 2 of model a"):
        Catalog(read, load, WatchSettings())
    assert Catalog(read, load, WatchSettings(labels_for_unavailable=True)).model("a") is not None


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", {12}),
        ("model_version_policy { latest { num_versions: 2 } }", {7, 12}),
        ("model_version_policy { all {} }", {1, 7, 12}),
        ("model_version_policy { specific { versions: 1 versions: 7 versions: 8 } }", {1, 7}),
    ],
)
def test_policies(tmp_path: Path, policy: str, chosen: set[int]) -> None:
    path = tmp_path / "models.config"
    path.write_text(f"model_config_list {{ {config('a', tmp_path, policy)} }}")
    (model,) = read_models(str(path))
    assert model.policy.choose({version: tmp_path / str(version) for version in (7, 12, 1)}) == chosen


def test_unknown_label(server: Any) -> None:
    reply = server.send("POST", "/v1/models/half_plus_two/labels/canary:predict", BODY)
    assert reply.status == 400
    assert json.loads(reply.body) == {"error": "Unrecognized servable version label: canary"}


def test_waits_for_a_base_path_and_a_version(start: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    base = tmp_path / "late"
    server = start("--model_name=half_plus_two", f"--model_base_path={base}")
    server.wait_for(lambda: f"Could not find base path {base}" in server.log, "it says what it waits for")
    base.mkdir()
    server.wait_for(lambda: "No versions of servable half_plus_two found" in server.log, "it asks for a version")
    put(golden / "half_plus_two" / "2", base / "7")
    server.ready()
    assert json.loads(server.send("POST", f"{MODEL}/versions/7:predict", BODY).body) == {"predictions": [5.0]}
    shutil.rmtree(base)
    server.wait_for(lambda: server.log.count("Could not find base path") > 2, "the folder is missed")
    assert server.predict("half_plus_two", BODY).status == 200


def test_models_that_cannot_be_loaded_fail_the_start(start: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    for name in ("damaged", "empty"):
        shutil.copytree(golden / "half_plus_two" / "1", tmp_path / name / "1")
    saved_model = tmp_path / "damaged" / "1" / "saved_model.pb"
    saved_model.write_bytes(saved_model.read_bytes()[:-50])
    (tmp_path / "empty" / "1" / "saved_model.pb").unlink()
    path = tmp_path / "models.config"
    entries = [config(name, tmp_path / name) for name in ("damaged", "empty")]
    path.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    server = start(f"--model_config_file={path}", "--max_num_load_retries=0")
    assert server.process.wait(60) == 255
    last = server.log.strip().splitlines()[-1]
    assert last.startswith("Failed to start server. Error: UNKNOWN: ")
    assert "2 servable(s) did not become available: {" in last
    assert "{name: damaged version: 1} due to error: OUT_OF_RANGE: Read less bytes than requested}, " in last
    assert "{name: empty version: 1} due to error: NOT_FOUND: Could not find SavedModel .pb or .pbtxt" in last
    assert "Servable {name: damaged version: 1} cannot be loaded: OUT_OF_RANGE" in server.log


def test_a_half_copied_version_is_tried_again(start: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    base = tmp_path / "half_plus_two"
    shutil.copytree(golden / "half_plus_two" / "1", base / "1")
    server = start(
        "--model_name=half_plus_two", f"--model_base_path={base}", "--load_retry_interval_micros=200000"
    ).ready()
    shutil.copytree(golden / "half_plus_two" / "2", base / "2", ignore=shutil.ignore_patterns("saved_model.pb"))
    server.wait_for(lambda: "version: 2} failed: NOT_FOUND" in server.log, "the first try fails")
    assert json.loads(server.predict("half_plus_two", BODY).body) == {"predictions": [4.0]}
    shutil.copy(golden / "half_plus_two" / "2" / "saved_model.pb", base / "2")
    server.wait_for(
        lambda: json.loads(server.predict("half_plus_two", BODY).body) == {"predictions": [5.0]}, "version 2"
    )


def test_without_variables_it_is_ready_and_fails_at_predict(
    start: Callable[..., Any], golden: Path, tmp_path: Path
) -> None:
    shutil.copytree(golden / "half_plus_two" / "1", tmp_path / "m" / "1", ignore=shutil.ignore_patterns("variables"))
    server = start("--model_name=m", f"--model_base_path={tmp_path / 'm'}").ready()
    reply = server.predict("m", BODY)
    assert reply.status == 400
    assert "error" in json.loads(reply.body)
