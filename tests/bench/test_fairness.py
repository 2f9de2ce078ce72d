"""The fairness card (R23): what it says, and that it never says what it cannot know."""

from __future__ import annotations

import msgspec
import pytest

from serving_ctl.bench.fairness import Subject, fairness_facts, model_digest
from serving_ctl.bench.parity import Parity
from serving_ctl.bench.plan import make_plan
from serving_ctl.bench.presets import LadderTable, Preset
from serving_ctl.config import BenchSettings, FlaskSettings, Settings, TfServingSettings
from serving_ctl.events import Target

PRESET = Preset(title="T", ladders=(LadderTable(kind="batch", sizes=(1,)),))
DIGEST = "0123456789ab"
LABELS = {
    "docker": "tf-serving docker",
    "embedded": "embedded (TF-Serving-compatible)",
    "external": "tf-serving external",
    "native": "tf-serving native",
}


def subject(server: str, runtime: str, url: str = "http://127.0.0.1:8501") -> Subject:
    name = "embedded" if runtime == "embedded" else server
    label = LABELS[runtime] if server == "tf-serving" else f"flask {runtime}"
    target = Target(server=server, name=name, label=label, version="2.20.0", url=url)
    return Subject(target=target, runtime=runtime)


def card(first="docker", second="gunicorn", *, parity=None, url="http://127.0.0.1:8501", digest=DIGEST, **settings):
    whole = Settings(**settings)
    return fairness_facts(
        (subject("tf-serving", first, url), subject("flask", second)),
        whole,
        make_plan("mine", PRESET, whole.bench),
        parity or Parity(bodies=5, difference=3e-7),
        digest,
    )


def by_key(facts) -> dict:
    return {fact.key: fact for fact in facts}


def test_what_needs_attention_comes_first():
    marks = [fact.mark for fact in card("embedded")]
    assert marks == sorted(marks, key=["warn", "ok", "info"].index)
    assert "warn" in marks


def test_every_key_stands_once():
    facts = card("embedded")
    assert len(by_key(facts)) == len(facts)


@pytest.mark.parametrize("first", ["docker", "embedded", "native", "external"])
def test_short_texts_fit_thirty_columns(first):
    """Those we word; a label or a processor's name is as long as it is."""
    facts = card(first)
    theirs = {"tf-serving", "embedded", "flask", "machine"}
    assert {fact.short: len(fact.short) for fact in facts if fact.key not in theirs and len(fact.short) > 30} == {}


def test_the_card_names_what_rule_r23_asks_for():
    text = " ".join(f"{fact.key} {fact.text}" for fact in card())
    for word in (
        DIGEST,
        "tf-serving docker",
        "flask gunicorn",
        "2.20.0",
        "threads",
        "4 Flask workers",
        "published port",
        "keep",
        "row",
        "batching off",
        "1m00s",
        "TF_ENABLE_ONEDNN_OPTS=0",
        "core",
        "load average",
        "steal",
        "Python 3.",
    ):
        assert word in text


def test_predictions_that_agree():
    fact = by_key(card())["predictions"]
    assert fact.mark == "ok"
    assert "5 sampled requests" in fact.text
    assert "3e-07" in fact.text


def test_predictions_that_differ_are_a_warning_with_the_place():
    fact = by_key(card(parity=Parity(bodies=5, problem="prediction[0]: 1 and 2")))["predictions"]
    assert fact.mark == "warn"
    assert "prediction[0]: 1 and 2" in fact.text


def test_the_same_files_are_said_with_their_hash():
    fact = by_key(card())["model"]
    assert fact.mark == "ok"
    assert DIGEST in fact.text


def test_an_external_server_s_model_is_not_claimed_to_be_ours():
    fact = by_key(card("external"))["model"]
    assert fact.mark == "warn"
    assert DIGEST not in fact.text


def test_a_model_that_could_not_be_read_is_not_claimed_to_be_the_same():
    assert by_key(card(digest="?"))["model"].mark != "ok"


def test_an_embedded_server_is_a_warning_and_never_called_tf_serving():
    facts = card("embedded")
    assert any(fact.mark == "warn" and "embedded" in fact.text for fact in facts)
    assert "tf-serving" not in {fact.key for fact in facts}
    assert not any("embedded" in fact.key or "not TF Serving" in fact.key for fact in card("docker"))


def test_docker_s_published_port_is_a_warning_and_host_networking_is_not():
    assert by_key(card("docker"))["network path"].mark == "warn"
    host = card("docker", tf_serving=TfServingSettings(network="host"))
    assert by_key(host)["network path"].mark == "info"


def test_another_machine_is_no_loopback():
    text = by_key(card("external", url="http://10.0.0.5:8501"))["network path"].text
    assert "loopback without a proxy" not in text


def test_settings_of_an_external_server_are_not_claimed():
    facts = by_key(card("external"))
    assert {"threads", "batching", "oneDNN"} & facts.keys() == set()
    assert facts["settings"].mark == "warn"


def test_the_sync_worker_s_reconnects_are_a_warning_and_gthread_s_are_not():
    assert by_key(card())["keep-alive"].mark == "warn"
    gthread = by_key(card(flask=FlaskSettings(worker_class="gthread")))
    assert "keep-alive" not in gthread or gthread["keep-alive"].mark != "warn"


def test_threads_and_workers_are_as_set():
    facts = by_key(
        card(
            tf_serving=TfServingSettings(intra_op_threads=2, inter_op_threads=1),
            flask=FlaskSettings(workers=2),
            bench=BenchSettings(onednn=True, timeout_s=30.0),
        )
    )
    assert "intra-op 2, inter-op 1" in facts["threads"].text
    assert "2 Flask workers" in facts["threads"].text
    assert "TF_ENABLE_ONEDNN_OPTS=1" in facts["oneDNN"].text
    assert "30 s" in facts["timeout"].text


def test_the_json_form_is_the_plan_s():
    column = make_plan("mine", msgspec.structs.replace(PRESET, form="column"), BenchSettings())
    subjects = (subject("tf-serving", "docker"), subject("flask", "gunicorn"))
    facts = by_key(fairness_facts(subjects, Settings(), column, Parity(bodies=5), DIGEST))
    assert "inputs" in facts["JSON form"].text


class TestModelDigest:
    @pytest.fixture
    def version_folder(self, tmp_path):
        (tmp_path / "variables").mkdir()
        (tmp_path / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / "variables" / "variables.data").write_bytes(b"weights")
        return tmp_path

    def test_is_short_and_stays_the_same(self, version_folder):
        digest = model_digest(version_folder)
        assert len(digest) == 12
        assert int(digest, 16) >= 0
        assert model_digest(version_folder) == digest

    @pytest.mark.parametrize("path", ["saved_model.pb", "variables/variables.data"])
    def test_changes_with_graph_and_weights(self, version_folder, path):
        before = model_digest(version_folder)
        (version_folder / path).write_bytes(b"other")
        assert model_digest(version_folder) != before

    def test_does_not_change_with_what_no_prediction_depends_on(self, version_folder):
        before = model_digest(version_folder)
        (version_folder / "assets.extra").mkdir()
        (version_folder / "assets.extra" / "requests.jsonl").write_text("{}")
        assert model_digest(version_folder) == before

    def test_a_model_without_weights_has_one(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"graph")
        assert len(model_digest(tmp_path)) == 12

    def test_no_model_has_none(self, tmp_path):
        assert model_digest(tmp_path) == "?"
