"""history, show, export, compare, baseline, forget: what they print, their exit codes, and errors in words."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from results.run_samples import BATCH, cut_short, ended, pair, record, started

from serving_ctl.cli import main
from serving_ctl.cli.run import _publish, _RunTalk
from serving_ctl.engine import HISTORY
from serving_ctl.errors import Exit
from serving_ctl.events import LogLine, encode_event
from serving_ctl.results.keeper import Keeper
from serving_ctl.results.record import RunRecord
from serving_ctl.results.store import store_path

REAL = Path(__file__).parents[1] / "data" / "batch-small.jsonl"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """A user without settings, state or runs, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"TFSERVE_{name}_DIR", str(tmp_path / name.lower()))
    return tmp_path


@pytest.fixture
def run(capfd):
    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return command


def a_run(run_id: str, factor: float = 1.0, *, rounds: int = 4, **fields) -> RunRecord:
    begun = msgspec.structs.replace(started(BATCH, rounds=rounds), run_id=run_id, **fields)
    noise = (0.99, 1.01, 1.0, 1.005)[:rounds]
    cells = [one for n, x in enumerate(noise, 1) for one in pair(BATCH, 1, n, factor * x, 2 * x)]
    return record(*cells, msgspec.structs.replace(ended(begun), run_id=run_id), of=begun)


def keep(*runs: RunRecord) -> None:
    for one in runs:
        keeper = Keeper(store_path, Path("spare.jsonl"), pytest.fail)
        for event in (one.started, *one.cells, *([one.end] if one.end else [])):
            keeper(event)
        keeper.close()


def refused(answer: tuple[int, str, str], *words: str, code: int = Exit.USAGE) -> None:
    found, out, err = answer
    assert (found, out) == (code, "")
    assert [word for word in words if word not in err] == []
    assert len(err.splitlines()) <= 2


class TestHistory:
    def test_nothing_yet(self, run):
        code, out, err = run("history")
        assert (code, out) == (Exit.DONE, "")
        assert "no run is kept yet" in err
        assert json.loads(run("history", "--json")[1]) == []

    def test_lists_newest_first(self, run):
        died = a_run("20260102-bb")
        keep(a_run("20260101-aa"), msgspec.structs.replace(died, end=cut_short(died.started)))
        run("baseline", "main", "20260101")
        code, out, _ = run("history")
        first, second = [line for line in out.splitlines() if "2026010" in line]
        assert code == Exit.DONE
        assert "20260102-bb" in first
        assert "failed" in first
        assert "20260101-aa" in second
        assert "8 of 32" in second
        assert "0.50" in second
        assert "main" in second

    def test_as_json(self, run):
        keep(a_run("20260101-aa"))
        (summary,) = json.loads(run("history", "--json")[1])
        assert (summary["run_id"], summary["state"], summary["cells"]) == ("20260101-aa", "finished", 8)
        assert summary["rates"] == [{"ladder": "batch-small", "low": pytest.approx(0.5), "high": pytest.approx(0.5)}]


class TestShowAndExport:
    def test_shows_every_table(self, run):
        keep(a_run("20260101-aa"))
        code, out, err = run("show", "last")
        assert (code, err) == (Exit.DONE, "")
        for title in ("batch-small: request time", "batch-small: service time", "Fairness card"):
            assert title in out

    def test_shows_json(self, run):
        keep(a_run("20260101-aa"))
        document = json.loads(run("show", "last", "--json")[1])
        assert document["schema"] == 1
        assert document["run"]["started"]["run_id"] == "20260101-aa"

    def test_a_recording_is_a_run_too(self, run):
        assert "batch-small: request time" in run("show", str(REAL))[1]

    def test_exports_every_format(self, run, tmp_path):
        names = [f"out{ending}" for ending in (".md", ".csv", ".json", ".html", ".svg", ".png")]
        options = [word for name in names for word in ("--export", name)]
        code, out, err = run("export", str(REAL), *options)
        assert (code, out) == (Exit.DONE, "")
        assert [(tmp_path / name).stat().st_size > 1000 for name in names] == [True] * 6
        assert err.splitlines() == [f"wrote {name}" for name in names]

    def test_a_dash_writes_to_stdout(self, run):
        assert run("export", str(REAL), "--export", "-")[1].startswith("# Batch test")
        assert run("export", str(REAL), "--export", "-.csv")[1].startswith("run,started_at,preset")

    @pytest.mark.parametrize("name", ["a.pdf", "absent/a.md"])
    def test_a_file_that_cannot_be(self, run, name):
        refused(run("export", str(REAL), "--export", name), name)

    @pytest.mark.parametrize("command", [("show", "nope"), ("export", "nope", "--export", "a.md"), ("forget", "nope")])
    def test_an_unknown_run(self, run, command):
        refused(run(*command), "'nope'", "tfserve-tui history")

    def test_a_recording_that_is_none(self, run, tmp_path):
        (tmp_path / "r.jsonl").write_bytes(encode_event(a_run("x").cells[0]))
        refused(run("show", "r.jsonl"), "holds no run")
        refused(run("show", "absent.jsonl"), "cannot be read")


class TestCompare:
    def test_says_what_differs_then_the_ratios(self, run):
        keep(a_run("1-aa", fingerprint={"CPU": "old"}), a_run("2-bb", 1.2, fingerprint={"CPU": "new"}))
        code, out, err = run("compare", "1-aa", "last")
        assert (code, err) == (Exit.DONE, "")
        assert out.index("CPU   old  new") < out.index("batch-small: request time, A against B")
        assert "1.20  1.18 – 1.22  A faster" in out

    @pytest.mark.parametrize(("limit", "code"), [("1.1", Exit.REGRESSION), ("1.5", Exit.DONE)])
    def test_fails_above_a_limit(self, run, limit, code):
        keep(a_run("1-aa"), a_run("2-bb", 1.2))
        found, out, err = run("compare", "last~1", "last", "--fail-above", limit)
        assert found == code
        assert ("regression: batch-small 1, tf-serving: request" in err) is (code == Exit.REGRESSION)
        assert "A against B" in out

    def test_says_when_nothing_can_be_judged(self, run):
        keep(a_run("1-aa"), a_run("2-bb", 3, rounds=1))
        code, _, err = run("compare", "1-aa", "2-bb", "--fail-above", "1.1")
        assert code == Exit.DONE
        assert "without an interval: not judged" in err

    def test_as_json(self, run):
        keep(a_run("1-aa"), a_run("2-bb", 1.2))
        document = json.loads(run("compare", "1-aa", "2-bb", "--json")[1])
        assert document["changes"][0]["change"]["ratio"] == pytest.approx(1.2)

    def test_runs_without_a_common_cell(self, run):
        keep(a_run("1-aa"), record(of=msgspec.structs.replace(started(BATCH), run_id="2-bb")))
        refused(run("compare", "1-aa", "2-bb"), "no measured cell in common")

    @pytest.mark.parametrize("limit", ["0", "-1", "much"])
    def test_a_wrong_limit(self, run, limit):
        code, out, err = run("compare", "a", "b", "--fail-above", limit)
        assert (code, out) == (Exit.USAGE, "")
        assert "--fail-above" in err


class TestBaseline:
    def test_names_and_lists(self, run):
        keep(a_run("1-aa"), a_run("2-bb"))
        code, out, err = run("baseline")
        assert (code, out) == (Exit.DONE, "")
        assert "baseline NAME" in err
        assert run("baseline", "main")[2] == "main is now 2-bb\n"
        assert run("baseline", "main", "1-aa")[0] == Exit.DONE
        assert run("baseline")[1] == "main  1-aa\n"
        assert json.loads(run("show", "main", "--json")[1])["run"]["started"]["run_id"] == "1-aa"

    @pytest.mark.parametrize("name", ["last", "last~1", "x.jsonl", " "])
    def test_a_name_that_reads_as_something_else(self, run, name):
        keep(a_run("1-aa"))
        refused(run("baseline", name), "cannot be a baseline's name")


def test_forget(run):
    keep(a_run("1-aa"), a_run("2-bb"))
    assert run("forget", "last")[2] == "forgot 2-bb\n"
    assert [one["run_id"] for one in json.loads(run("history", "--json")[1])] == ["1-aa"]


class TestRunAgainstABaseline:
    """What ``run --baseline`` prints after the measuring."""

    def publish(self, capfd, record: RunRecord, as_json: bool = False) -> tuple[str, str]:
        _publish(record, (), "main", as_json)
        return capfd.readouterr()

    def test_the_first_run_becomes_it_and_the_next_is_compared(self, capfd):
        first, second = a_run("1-aa"), a_run("2-bb", 1.2)
        keep(first)
        out, err = self.publish(capfd, first)
        assert "A against B" not in out
        assert "this run is it from now on" in err
        keep(second)
        out, err = self.publish(capfd, second)
        assert out.index("batch-small: request time\n") < out.index("batch-small: request time, A against B")
        assert err == ""
        document = json.loads(self.publish(capfd, second, as_json=True)[0])
        assert (document["schema"], document["comparison"]["a"]) == (1, "1-aa")

    def test_a_history_that_cannot_be_read_costs_only_the_comparison(self, capfd, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("TFSERVE_DATA_DIR", str(tmp_path / "file" / "data"))
        out, err = self.publish(capfd, a_run("1-aa"))
        assert "batch-small: request time" in out
        assert "not compared with baseline 'main'" in err

    def test_tables_are_not_printed_between_the_lines_of_an_export(self, capfd):
        _publish(a_run("1-aa"), (Path("-.csv"),), None, False)
        out, _ = capfd.readouterr()
        assert {line.count(",") >= 18 for line in out.splitlines()} == {True}


def test_a_run_that_cannot_be_kept_says_so(capfd):
    _RunTalk()(LogLine(server=HISTORY, text="The run is not kept."))
    _RunTalk()(LogLine(server="flask", text="a line of a server's log"))
    assert capfd.readouterr().err == "The run is not kept.\n"


class TestBadStore:
    def test_a_damaged_one_is_moved_aside(self, run, tmp_path):
        keep(a_run("1-aa"))
        store_path().write_bytes(b"\0" * 9000)
        code, out, err = run("history")
        assert (code, out) == (Exit.DONE, "")
        assert "was damaged and is now runs.sqlite3.damaged-" in err
        assert len(list((tmp_path / "data").glob("*.damaged-*"))) == 1

    def test_a_folder_that_cannot_be_made(self, run, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("TFSERVE_DATA_DIR", str(tmp_path / "file" / "data"))
        refused(run("history"), "TFSERVE_DATA_DIR")

    def test_a_newer_one(self, run):
        import sqlite3

        keep(a_run("1-aa"))
        database = sqlite3.connect(store_path())
        database.execute("PRAGMA user_version = 99")
        database.close()
        refused(run("history"), "newer tfserve-tui", code=Exit.INCOMPLETE)
