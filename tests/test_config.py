"""Settings: strict, with errors that name file, key and the nearest known key; and where files lie."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from serving_ctl import config
from serving_ctl.errors import ConfigError, Exit

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """A working folder without ./configs and a user without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFSERVE_CONFIG_DIR", str(tmp_path / "user"))
    return tmp_path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load_settings(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 2
    assert caught.value.exit_code is Exit.USAGE
    return text


def test_the_shipped_file_says_exactly_the_defaults():
    shipped = ROOT / "configs" / "tfserve.toml"
    assert config.load_settings(shipped) == config.Settings()


def test_the_shipped_file_names_every_key():
    text = (ROOT / "configs" / "tfserve.toml").read_text(encoding="utf-8")
    example = text[text.index("[[endpoints]]") : text.index("[bench]")]  # as a comment: there is none by default
    tables = tomllib.loads("\n".join(line.removeprefix("# ") for line in example.splitlines()))
    assert set(tables["endpoints"][0]) == set(config.EndpointSettings.__struct_encode_fields__)
    tables = tomllib.loads(text)
    default = config.Settings()
    for table, keys in tables.items():
        fields = type(getattr(default, table.replace("-", "_"))).__struct_encode_fields__
        assert set(keys) == set(fields)
    assert {*tables, "endpoints"} == set(config.Settings.__struct_encode_fields__)


def test_an_empty_file_is_all_defaults(settings_file):
    assert config.load_settings(settings_file("")) == config.Settings()


def test_one_key_changes_one_setting(settings_file):
    settings = config.load_settings(settings_file('[flask]\nworker-class = "gthread"\n[bench]\ntimeout-s = 30\n'))
    assert settings.flask.worker_class == "gthread"
    assert settings.bench.timeout_s == 30.0
    assert settings.tf_serving == config.Settings().tf_serving


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[flask]\nprot = 1\n", ["[flask]", "'prot'", "'port'"]),
        ("[tf-serving]\nrest_threads = 2\n", ["[tf-serving]", "'rest_threads'", "'rest-threads'"]),
        ("[flusk]\nport = 1\n", ["'flusk'", "'flask'"]),
        ("[ui]\nzzzzzz = 1\n", ["[ui]", "'zzzzzz'", "theme"]),
        ('[flask]\nport = "a"\n', ["flask.port", "int", "str"]),
        ("[flask]\nport = true\n", ["flask.port", "int", "bool"]),
        ("[bench]\nonednn = 1\n", ["bench.onednn", "bool", "int"]),
        ("flask = 3\n", ["flask", "int"]),
        ("[flask\n", ["TOML", "line 1"]),
        ('[tf-serving]\nruntime = "dokcer"\n', ["tf-serving.runtime", "'dokcer'"]),
        ("[tf-serving]\nrest-threads = 1\n", ["rest-threads", "hang"]),
        ('[tf-serving]\nruntime = "external"\n', ["[tf-serving]", "url"]),
        ('[flask]\nruntime = "external"\n', ["[flask]", "url"]),
    ],
)
def test_a_wrong_file_is_refused_with_key_and_reason(settings_file, text, words):
    message = refusal(settings_file(text))
    assert [word for word in words if word not in message] == []


def test_a_wrong_choice_names_what_there_is(settings_file):
    assert "docker" in refusal(settings_file('[tf-serving]\nruntime = "dokcer"\n')).replace("'dokcer'", "")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("flask", "port = 70000"),
        ("flask", "port = -1"),
        ("flask", "workers = 0"),
        ("flask", "threads = 0"),
        ("flask", "timeout-s = -1"),
        ("tf-serving", "port = 0"),
        ("tf-serving", "rest-threads = -2"),
        ("bench", "timeout-s = inf"),
        ("tf-serving", "intra-op-threads = -1"),
        ("tf-serving", "start-timeout-s = 0.0"),
        ("bench", "timeout-s = 0.0"),
        ("bench", "timeout-s = nan"),
        ("bench", "distinct-bodies = 0"),
    ],
)
def test_a_number_out_of_range_is_refused(settings_file, table, line):
    assert line.split(" ", maxsplit=1)[0] in refusal(settings_file(f"[{table}]\n{line}\n"))


def test_a_request_timeout_above_gunicorn_s_is_refused(settings_file):
    """R8: the client's timeout is never above gunicorn's, which would kill the worker first."""
    assert "timeout-s" in refusal(settings_file("[bench]\ntimeout-s = 900.0\n[flask]\ntimeout-s = 600\n"))


@pytest.mark.parametrize(
    "url", ["10.0.0.5:8501", "ftp://a", "http://", "http://a:99999", "http://[::1", "http://a?k=v"]
)
def test_an_external_url_that_cannot_be_loaded_is_refused(settings_file, url):
    assert "not a base URL" in refusal(settings_file(f'[tf-serving]\nruntime = "external"\nurl = "{url}"\n'))


def test_a_password_in_a_url_is_refused_and_not_repeated(settings_file):
    text = refusal(settings_file('[tf-serving]\nruntime = "external"\nurl = "http://me:hush@10.0.0.5"\n'))
    assert ("headers" in text, "hush" in text) == (True, False)


EU = '[[endpoints]]\nname = "eu"\nurl = "http://eu:8501"\n'


def test_endpoints_are_servers_in_their_order(settings_file):
    us = '[[endpoints]]\nname = "us"\nurl = ["https://a/x/", "https://b"]\nmodel = "other"\nheaders = { K = "v" }\n'
    settings = config.load_settings(settings_file(EU + us))
    assert settings.servers == settings.targets == ("tf-serving", "flask", "eu", "us")
    assert settings.server("us").urls == ("https://a/x", "https://b")
    assert [settings.model_name(name) for name in ("flask", "eu", "us")] == ["text_cnn", "text_cnn", "other"]
    chosen = config.load_settings(settings_file(EU + us + '[bench]\ntargets = ["us", "flask"]\n'))
    assert chosen.targets == ("us", "flask")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (EU + EU.replace("eu", "EU"), ["two are called"]),
        (EU.replace('"eu"', '"tf-serving"'), ["'tf-serving'", "take another"]),
        (EU.replace('"eu"', '"Embedded"'), ["'Embedded'", "take another"]),
        (EU.replace('"eu"', '"e,u"'), ["'e,u'", "letters"]),
        (EU.replace('"eu"', '"-eu"'), ["'-eu'", "letters"]),
        (EU.replace('"eu"', '"../x"'), ["'../x'", "letters"]),
        (EU.replace('"http://eu:8501"', "[]"), ["eu", "needs url"]),
        (EU.replace("http://eu:8501", "eu:8501"), ["eu", "http://"]),
        (EU.replace("name", "nam"), ["'nam'", "'name'"]),
        (EU + '[bench]\ntargets = ["eu", "zzzzz"]\n', ["[bench] targets", "'zzzzz'", "known: tf-serving, flask, eu"]),
        (EU + '[bench]\ntargets = ["eu"]\n', ["[bench] targets", "'eu' alone"]),
        (EU + '[bench]\ntargets = ["eu", "flask", "eu"]\n', ["[bench] targets", "'eu'", "twice"]),
    ],
)
def test_an_endpoint_or_a_target_that_cannot_be(settings_file, text, words):
    message = refusal(settings_file(text))
    assert [word for word in words if word not in message] == []


def test_a_missing_file_says_what_to_do(tmp_path):
    assert "--config" in refusal(tmp_path / "nowhere.toml")


def test_a_folder_is_no_settings_file(tmp_path):
    assert "read" in refusal(tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes(b'[model]\nname = "caf\xe9"\n')
    refusal(path)


def test_without_any_file_the_shipped_one_is_in_force(empty_folder):
    assert config.config_file("tfserve.toml") == config.templates_dir() / "tfserve.toml"
    assert config.load_settings() == config.Settings()


def test_the_user_s_file_outranks_the_shipped_one(empty_folder):
    (empty_folder / "user").mkdir()
    (empty_folder / "user" / "tfserve.toml").write_text("[flask]\nworkers = 2\n")
    assert config.load_settings().flask.workers == 2


def test_the_folder_s_file_outranks_the_user_s(empty_folder):
    for folder, workers in (("user", 2), ("configs", 3)):
        (empty_folder / folder).mkdir()
        (empty_folder / folder / "tfserve.toml").write_text(f"[flask]\nworkers = {workers}\n")
    assert config.load_settings().flask.workers == 3


@pytest.mark.parametrize(
    ("variable", "folder_of"), [("TFSERVE_STATE_DIR", config.state_dir), ("TFSERVE_DATA_DIR", config.data_dir)]
)
def test_state_and_data_folders_are_made_for_the_user_alone(tmp_path, monkeypatch, variable, folder_of):
    monkeypatch.setenv(variable, str(tmp_path / "deep" / "folder"))
    folder = folder_of()
    assert folder == tmp_path / "deep" / "folder"
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder_of() == folder


def test_a_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFSERVE_STATE_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match="TFSERVE_STATE_DIR") as caught:
        config.state_dir()
    assert str(tmp_path / "file") in str(caught.value)


def test_gunicorn_s_start_check_is_found():
    assert config.gunicorn_config().is_file()


def test_nearest_gives_a_near_word_or_all():
    assert config.nearest("batchsmall", ["smoke", "batch-small"]) == "did you mean 'batch-small'?"
    assert config.nearest("xyz", ["smoke", "full"]) == "known: smoke, full."
