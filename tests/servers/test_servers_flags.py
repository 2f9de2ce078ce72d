"""``[tf-serving.flags]``: refused before a start when wrong, else on the command line of every runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from places import Place, probe

from serving_ctl.config import TfServingSettings, load_settings, templates_dir
from serving_ctl.errors import ConfigError
from serving_ctl.servers.chosen_flags import batching_maximum, check_flags, flag_arguments, settable
from serving_ctl.servers.flags import known_flags, parse_help
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.spec import embedded_spec

NAME = "tf-serving"


def refusal(**flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_flags(TfServingSettings(flags=flags), known_flags())
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"enable_baching": True}, "the server has no flag 'enable_baching'; did you mean 'enable_batching'?"),
        ({"zzz": 1}, "the server has no flag 'zzz'."),
        ({"max_num_load_retries": "many"}, "max_num_load_retries = 'many' is no int32; give a whole number."),
        ({"max_num_load_retries": True}, "max_num_load_retries = True is no int32"),
        ({"max_num_load_retries": 1 << 31}, "does not fit int32"),
        ({"enable_batching": 1}, "enable_batching = 1 is no bool; give true or false."),
        ({"saved_model_tags": 3}, "saved_model_tags = 3 is no string; give a text in quotes."),
        ({"per_process_gpu_memory_fraction": "half"}, "is no float; give a number such as 0.5."),
        ({"rest_api_num_threads": 1}, "rest_api_num_threads is not set here: use [tf-serving] rest-threads."),
        ({"rest_api_port": 8501}, "use [tf-serving] port"),
        ({"port": 8500}, "gRPC is not measured here"),
        ({"model_name": "m"}, "use [model] name"),
        ({"monitoring_config_file": "x"}, "edit configs/monitoring.config"),
        ({"enable_per_model_batching_parameters": True}, "needs enable_batching = true."),
        ({"batching_parameters_file": "/x"}, "batching_parameters_file needs enable_batching = true."),
        ({"enable_batching": True, "batching_parameters_file": "/no/such"}, "there is no file /no/such."),
        ({"enable_batching": True, "platform_config_file": "/x"}, "makes the server ignore enable_batching"),
    ],
)
def test_wrong_flag_is_refused(flags: dict[str, Any], words: str) -> None:
    assert words in refusal(**flags)
    assert "[tf-serving.flags] " in refusal(**flags) or words in {"does not fit int32"}


def test_batching_file_is_read_as_the_server_would(tmp_path: Path) -> None:
    file = tmp_path / "batching"
    file.write_text("max_batch_size { value: 64 }\nmax_enqueued { value: 1 }\n", encoding="utf-8")
    flags: dict[str, Any] = {"enable_batching": True, "batching_parameters_file": str(file)}
    assert f'{file}:2: not a BatchingParameters: Message type "tensorflow.serving' in refusal(**flags)
    file.write_text("max_batch_size { value: 64 }", encoding="utf-8")
    assert batching_maximum(TfServingSettings(flags=flags)) == 64
    assert batching_maximum(TfServingSettings(flags={"enable_batching": True})) == 1000
    assert batching_maximum(TfServingSettings(batching=True)) == 10_000  # configs/batching.config
    assert batching_maximum(TfServingSettings()) is None


def test_values_and_files_are_written_as_the_server_reads_them(tmp_path: Path) -> None:
    serving = TfServingSettings(
        flags={"enable_batching": True, "batching_parameters_file": str(tmp_path / "b"), "max_num_load_retries": 0}
    )
    assert flag_arguments(serving, "/config") == [
        "--enable_batching=true",
        "--batching_parameters_file=/config/batching_parameters.config",
        "--max_num_load_retries=0",
    ]
    assert flag_arguments(TfServingSettings(), "/config") == []


def test_flags_of_the_settings_file_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        "[tf-serving.flags]\nenable_batching = true\nmax_num_load_retries = 0\n"
        'per_process_gpu_memory_fraction = 0.5\nsaved_model_tags = "serve"\n',
        encoding="utf-8",
    )
    serving = load_settings(file).tf_serving
    check_flags(serving, known_flags())
    assert [type(value) for value in serving.flags.values()] == [bool, int, float, str]


def test_every_flag_of_the_server_can_be_set_or_is_ours() -> None:
    assert len(known_flags()) == 48
    assert {"enable_batching", "max_num_load_retries", "file_system_poll_wait_seconds"} <= set(settable(known_flags()))
    assert not {"rest_api_port", "model_name", "version"} & set(settable(known_flags()))


@pytest.mark.parametrize("runtime", ["native", pytest.param("docker", marks=pytest.mark.xdist_group("servers"))])
def test_flags_reach_the_server_with_their_files(
    place: Place, request: pytest.FixtureRequest, runtime: str, tmp_path: Path
) -> None:
    """Also: only what the server's own --help knows is taken, and only once is an image asked."""
    if runtime == "docker":
        request.getfixturevalue("containers")
    file = tmp_path / "batching"
    file.write_text("max_batch_size { value: 7 }", encoding="utf-8")
    flags = {"enable_batching": True, "batching_parameters_file": str(file), "standin_patience": 2.5}
    place.script(argv=True)

    async def scenario() -> str:
        fleet = place.fleet(runtime, flags=flags)
        assert set(await fleet.flags()) == set(flags) | {"max_num_load_retries"}
        await fleet.start(NAME, probe=probe)
        log = "\n".join(await fleet.log_tail(NAME, 50))
        await fleet.stop(NAME)
        await fleet.close()
        other = place.fleet(runtime, flags={"prefer_tflite_model": True})
        with pytest.raises(ConfigError, match="the server has no flag 'prefer_tflite_model'"):
            await other.start(NAME, probe=probe)
        await other.close()
        return log

    log = asyncio.run(scenario())
    assert "--enable_batching=true" in log
    assert "--standin_patience=2.5" in log
    assert "batching: max_batch_size { value: 7 }" in log
    kept = [*place.state.glob("help-*.txt")]
    assert len(kept) == (runtime == "docker")
    assert all("standin_patience" in parse_help(one.read_text(encoding="utf-8")) for one in kept)


def test_batching_setting_takes_the_template(place: Place) -> None:
    place.script(argv=True)

    async def scenario() -> str:
        fleet = place.fleet(batching=True)
        await fleet.start(NAME, probe=probe)
        other = place.fleet()
        await other.adopt()
        assert "other settings: flags --enable_batching=true" in other.current(NAME).detail
        log = "\n".join(await fleet.log_tail(NAME, 50))
        await fleet.stop(NAME)
        for one in (fleet, other):
            await one.close()
        return log

    assert (templates_dir() / "batching.config").read_text(encoding="utf-8").splitlines()[-1] in asyncio.run(scenario())


def test_embedded_server_gets_them_too(place: Place) -> None:
    settings = place.settings("embedded", flags={"enable_batching": True})
    assert "--enable_batching=true" in embedded_spec(settings, StateFiles(place.state, NAME), place.model).argv


def test_help_of_an_absent_image_falls_back_to_the_known_flags(place: Place, engine: docker.DockerClient) -> None:
    async def ask() -> Callable[..., Any] | set[str]:
        fleet = place.fleet("docker", image="tfserve-tui-test/absent:none")
        try:
            return set(await fleet.flags())
        finally:
            await fleet.close()

    assert asyncio.run(ask()) == set(settable(known_flags()))
