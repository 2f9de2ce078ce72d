"""Presets: the shipped ones, the user's own, and errors that name file, preset and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving_ctl.bench.plan import make_plan
from serving_ctl.bench.presets import (
    PROFILES,
    LadderTable,
    Preset,
    choose_preset,
    load_presets,
    named_ladders,
    settings_for,
)
from serving_ctl.config import BenchSettings, FlaskSettings, Settings
from serving_ctl.errors import ConfigError

GOOD = 'title = "T"\nladders = [{ kind = "batch", sizes = [1, 10] }]\n'


@pytest.fixture
def user(tmp_path, monkeypatch) -> Path:
    """The user's settings folder; the working folder has no ./configs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("TFSERVE_CONFIG_DIR", str(folder))
    return folder


def refusal(user: Path, text: str) -> str:
    (user / "presets.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_presets()
    assert str(user / "presets.toml") in str(caught.value)
    return str(caught.value)


def test_the_shipped_presets(user):
    found = load_presets()
    assert list(found)[:5] == ["smoke", "batch-small", "batch-large", "concurrency", "full"]
    assert found["batch-small"].ladders[0].sizes == tuple(range(1, 11))
    assert found["batch-large"].ladders[0].sizes == (1, 10, 100, 1000, 10_000)
    assert found["concurrency"].ladders[0].kind == "concurrency"
    assert found["concurrency"].ladders[0].sizes == (1, 10, 100, 1000, 10_000)
    assert [ladder.kind for ladder in found["full"].ladders] == ["batch", "batch", "concurrency"]


def test_every_number_key_opens_one_preset(user):
    keys = [preset.key for preset in load_presets().values() if preset.key]
    assert len(keys) == len(set(keys))
    assert all(len(key) == 1 and key.isdecimal() for key in keys)


def test_profiles_are_rule_r8_s():
    numbers = {name: (p.rounds, p.min_seconds, p.min_requests) for name, p in PROFILES.items()}
    assert numbers == {"quick": (4, 1.0, 30), "standard": (6, 3.0, 100), "publish": (10, 10.0, 1000)}


def test_a_user_s_preset_joins_the_shipped_ones(user):
    (user / "presets.toml").write_text(f"[mine]\n{GOOD}")
    found = load_presets()
    assert {"smoke", "mine"} <= set(found)
    assert found["mine"].title == "T"


def test_a_user_s_preset_replaces_the_shipped_one_of_its_name(user):
    (user / "presets.toml").write_text(f"[smoke]\n{GOOD}")
    assert load_presets()["smoke"].title == "T"


def test_the_folder_s_presets_outrank_the_user_s(user):
    (user / "presets.toml").write_text(f"[mine]\n{GOOD}")
    Path("configs").mkdir()
    Path("configs/presets.toml").write_text(f"[mine]\n{GOOD.replace('T', 'Here')}")
    assert load_presets()["mine"].title == "Here"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[mine]\n{GOOD}roundz = 2\n", ["[mine]", "'roundz'", "'rounds'"]),
        ('[mine]\ntitle = "T"\nladders = [{ kind = "batch", size = [1] }]\n', ["[mine]", "'size'", "'sizes'"]),
        ('[mine]\nladders = [{ kind = "batch", sizes = [1] }]\n', ["[mine]", "title"]),
        ('[mine]\ntitle = "T"\n', ["[mine]", "ladders"]),
        ('[mine]\ntitle = "T"\nladders = []\n', ["[mine]", "ladders"]),
        ('[mine]\ntitle = "T"\nladders = [{ kind = "bach", sizes = [1] }]\n', ["[mine]", "'bach'", "kind"]),
        ("mine = 3\n", ["mine"]),
        ("[mine\n", ["TOML"]),
        (f"[mine]\n{GOOD}rounds = 3\n", ["[mine]", "even"]),
        (f"[mine]\n{GOOD}rounds = 0\n", ["[mine]", "at least 2"]),
        (f"[mine]\n{GOOD}min-seconds = -1.0\n", ["[mine]", "min-seconds"]),
        (f"[mine]\n{GOOD}min-requests = -1\n", ["[mine]", "min-requests"]),
        (f"[mine]\n{GOOD}warmup-seconds = -0.1\n", ["[mine]", "warmup-seconds"]),
        ('[mine]\ntitle = "T"\nladders = [{ kind = "batch", sizes = [1], clients = 0 }]\n', ["[mine]", "clients"]),
        ('[mine]\ntitle = "T"\nladders = [{ kind = "concurrency", sizes = [1], batch = 0 }]\n', ["[mine]", "batch"]),
    ],
)
def test_a_wrong_preset_is_refused_with_file_key_and_reason(user, text, words):
    message = refusal(user, text)
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) <= 2


@pytest.mark.parametrize("sizes", ["[]", "[0, 1]", "[-1]", "[10, 1]", "[1, 1]", "[1.5]", "[true]"])
def test_sizes_must_ascend_from_one(user, sizes):
    message = refusal(user, f'[mine]\ntitle = "T"\nladders = [{{ kind = "batch", sizes = {sizes} }}]\n')
    assert "[mine]" in message
    assert "sizes" in message


@pytest.mark.parametrize("line", ["min-seconds = nan", "min-seconds = inf", "warmup-seconds = nan"])
def test_a_time_that_is_no_number_is_refused(user, line):
    assert line.split(" ", maxsplit=1)[0] in refusal(user, f"[mine]\n{GOOD}{line}\n")


def test_two_ladders_of_one_name_are_refused_where_they_are_written(user):
    ladder = '{ kind = "batch", sizes = [1] }'
    message = refusal(user, f'[mine]\ntitle = "T"\nladders = [{ladder}, {ladder}]\n')
    assert "[mine]" in message
    assert "'batch'" in message


def test_a_user_s_preset_may_take_a_key_and_then_has_it_alone(user):
    (user / "presets.toml").write_text(f'[mine]\nkey = "1"\n{GOOD}')
    found = load_presets()
    assert [name for name, preset in found.items() if preset.key == "1"] == ["mine"]
    assert found["batch-large"].key == "2"


@pytest.mark.parametrize("key", ["12", "a", " "])
def test_a_key_that_is_no_digit_is_refused(user, key):
    assert "key" in refusal(user, f'[mine]\nkey = "{key}"\n{GOOD}')


def test_presets_without_a_key_stay_without_one(user):
    (user / "presets.toml").write_text(f"[mine]\n{GOOD}[yours]\n{GOOD}")
    assert [load_presets()[name].key for name in ("mine", "yours")] == ["", ""]


def test_a_presets_file_that_is_not_utf8_is_refused(user):
    (user / "presets.toml").write_bytes(b'[mine]\ntitle = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"presets\.toml"):
        load_presets()


def test_an_unknown_preset_names_the_nearest(user):
    with pytest.raises(ConfigError, match=r"'batchsmal'; did you mean 'batch-small'\?"):
        choose_preset(load_presets(), "batchsmal")


def test_a_preset_like_none_names_all(user):
    with pytest.raises(ConfigError, match="smoke"):
        choose_preset(load_presets(), "xyzxyz")


def test_a_known_preset_is_chosen(user):
    found = load_presets()
    assert choose_preset(found, "full") is found["full"]


class TestWhatAPresetWantsOtherwise:
    def test_of_flask_and_of_tf_serving(self, user):
        settings = Settings(flask=FlaskSettings(workers=7, threads=2))
        wanted = settings_for(load_presets()["flask-gthread"], settings)
        assert (wanted.flask.worker_class, wanted.flask.threads, wanted.flask.workers) == ("gthread", 4, 7)
        assert wanted.tf_serving == settings.tf_serving
        assert settings_for(load_presets()["tf-serving-batching"], settings).tf_serving.batching
        assert settings_for(load_presets()["batch-small"], settings) == settings

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ('flask = { worker-clas = "sync" }', "did you mean 'worker-class'"),
            ('flask = { worker-class = "gevent" }', "flask"),
            ("flask = { threads = -1 }", "flask.threads"),
            ("tf-serving = { batching = 3 }", "tf-serving.batching"),
        ],
    )
    def test_a_wrong_one_is_named(self, user, line, words):
        assert words in refusal(user, f"[mine]\n{GOOD}{line}\n")

    def test_the_two_of_batching_measure_the_same(self, user):
        found = load_presets()
        assert found["tf-serving-batching"].ladders == found["tf-serving-no-batching"].ladders

    def test_each_ladder_has_its_form(self, user):
        ladders = named_ladders("json-forms", load_presets()["json-forms"])
        assert [(one.name, one.form, one.gzip) for one in ladders] == [
            ("row", "row", False),
            ("column", "column", False),
            ("row-gzip", "row", True),
        ]

    def test_a_ladder_without_a_form_has_the_preset_s(self, user):
        (user / "presets.toml").write_text(f'[mine]\n{GOOD}form = "column"\ngzip = true\n')
        (ladder,) = named_ladders("mine", load_presets()["mine"])
        assert (ladder.form, ladder.gzip) == ("column", True)

    def test_a_search_is_a_ladder_of_limits(self, user):
        found = load_presets()["find-limit"]
        assert [ladder.kind for ladder in found.ladders] == ["rate-limit", "client-limit"]
        plan = make_plan("find-limit", found, BenchSettings())
        assert plan.cells == 2 * plan.rounds * 2
        assert plan.expected_s > 60
        assert plan.expected_requests > 3000 * plan.cells


def test_expected_requests_and_memory_grow_with_what_is_measured():
    def plan(*sizes: int, kind: str = "batch"):
        return make_plan("t", Preset(title="T", ladders=(LadderTable(kind=kind, sizes=sizes),)), BenchSettings())

    assert plan(1, 2).expected_requests > plan(1).expected_requests
    assert plan(1, 1000, kind="concurrency").expected_requests >= 2 * 4 * 1000
    assert plan(10_000).expected_memory_mb(4) > plan(1).expected_memory_mb(4) > plan(1).expected_memory_mb(1)
