"""The config templates as protobuf text: filled in for a start, refused with line and field when wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from google.protobuf import text_format

from serving_ctl.api.server_config_pb2 import BatchingParameters, ModelServerConfig, MonitoringConfig
from serving_ctl.config import templates_dir
from serving_ctl.errors import ConfigError
from serving_ctl.servers.configs import BATCHING, KINDS, MODELS, MONITORING, models_config, parse, read, write_effective


def test_effective_files_have_name_and_path_and_can_be_read_by_all(tmp_path: Path) -> None:
    write_effective(tmp_path / "config", "m", "/models/m", {})
    models = parse((tmp_path / "config" / MODELS).read_text(encoding="utf-8"), ModelServerConfig, MODELS)
    (model,) = models.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("m", "/models/m", "tensorflow")
    monitoring = parse((tmp_path / "config" / MONITORING).read_text(encoding="utf-8"), MonitoringConfig, MONITORING)
    assert monitoring.prometheus_config.enable
    for path, mode in ((tmp_path / "config", 0o755), (tmp_path / "config" / MODELS, 0o644)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_the_user_added_to_the_template_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / MODELS).write_text(
        'model_config_list { config { name: "a" base_path: "/x" model_version_policy { specific { versions: [2, 3] } }'
        ' version_labels { key: "stable" value: 2 } } }',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    (model,) = models_config("m", "/models/m").model_config_list.config
    assert model.name == "m"
    assert list(model.model_version_policy.specific.versions) == [2, 3]
    assert dict(model.version_labels) == {"stable": 2}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_shipped_templates_are_valid(name: str) -> None:
    assert (templates_dir() / name).is_file()
    assert isinstance(read(name), KINDS[name])


def test_an_error_names_file_line_and_field() -> None:
    text = 'model_config_list {\n  config {\n    name: "m"\n    base_pth: "/x"\n  }\n}\n'
    with pytest.raises(ConfigError, match=r'^my\.config:4: not a ModelServerConfig: .*no field named "base_pth"'):
        parse(text, ModelServerConfig, "my.config")
    with pytest.raises(ConfigError, match=r"^b:1: not a BatchingParameters: .*many"):
        parse("max_batch_size { value: many }", BatchingParameters, BATCHING.removesuffix("atching.config"))


def test_absent_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / MODELS).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"configs/models\.config: cannot be read"):
        read(MODELS)


def test_field_numbers_are_those_of_tensorflow_serving() -> None:
    """Against the generated code of tensorflow-serving-api, for the message that it has."""
    from tensorflow_serving.config import model_server_config_pb2 as upstream

    ours = ModelServerConfig()
    text_format.Parse(
        'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" model_type: TENSORFLOW'
        ' model_version_policy { latest { num_versions: 2 } } version_labels { key: "a" value: 1 }'
        ' logging_config { log_collector_config { type: "t" filename_prefix: "p" }'
        " sampling_config { sampling_rate: 1 } } } }",
        ours,
    )
    theirs = upstream.ModelServerConfig.FromString(ours.SerializeToString())
    assert text_format.MessageToString(theirs) == text_format.MessageToString(ours)
