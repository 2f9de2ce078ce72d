"""The command line without servers: help, arguments, errors in words, exit codes; stdout is data, stderr is talk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from serving_ctl.cli import cli, main
from serving_ctl.cli.face import Face, TuiOptions
from serving_ctl.errors import ConfigError, Exit, ParityError, ServerStartError

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(cli.commands)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """A user without settings, state, model or runs, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"TFSERVE_{name}_DIR", str(tmp_path / name.lower()))
    return tmp_path


def face(**entrances) -> Face:
    """A terminal UI of which a test needs some entrances only."""

    def unwanted(*_):
        raise AssertionError

    everything = {"open_tui": unwanted, "check_theme": lambda _: None, "serve_web": unwanted}
    return Face(**(everything | entrances))


@pytest.fixture
def run(capfd):
    def command(*arguments: str, **entrances) -> tuple[int, str, str]:
        code = main(list(arguments), face=face(**entrances) if entrances else None)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return command


def refused(answer: tuple[int, str, str], *words: str) -> None:
    """A user's mistake: exit 2, nothing on stdout, the words on stderr in a few lines."""
    code, out, err = answer
    assert code == Exit.USAGE, err
    assert out == ""
    assert [word for word in words if word not in err] == []
    assert len(err.splitlines()) <= 2


def test_the_contract_s_commands_are_there():
    assert {"up", "down", "status", "metadata", "logs", "presets", "run", "load"} <= set(COMMANDS)


def test_help_lists_every_command(run):
    code, out, err = run("--help")
    assert (code, err) == (Exit.DONE, "")
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command, flag):
    code, out, err = run(command, flag)
    assert (code, err) == (Exit.DONE, "")
    assert f"tfserve-tui {command}" in out
    described = cli.commands[command].get_short_help_str(200)
    assert described
    assert not described.endswith("...")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described(command):
    options = [p for p in cli.commands[command].params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_version(run):
    code, out, _ = run("--version")
    assert code == Exit.DONE
    assert "0.1.0" in out


def test_an_unknown_command(run):
    refused(run("rnu"), "rnu")


def test_an_unknown_option(run):
    refused(run("run", "smoke", "--exprot", "a.md"), "--exprot")


def test_a_missing_argument(run):
    refused(run("run"), "PRESET")


class TestTerminalUi:
    def test_opens_without_a_command(self, run):
        seen = []
        code, out, err = run(
            "--theme", "x", "--replay", "r.jsonl", "--speed", "0", open_tui=lambda o: seen.append(o) or 0
        )
        assert (code, out, err) == (Exit.DONE, "", "")
        assert seen == [TuiOptions(theme="x", replay=Path("r.jsonl"), speed=0.0)]

    def test_s_exit_code_is_ours(self, run):
        assert run(open_tui=lambda _: Exit.NOT_STARTED)[0] == Exit.NOT_STARTED

    def test_is_not_opened_by_a_command(self, run):
        assert run("presets", check_theme=lambda _: None)[0] == Exit.DONE

    @pytest.mark.parametrize("command", [(), ("presets",), ("web",)])
    def test_s_theme_is_checked_whenever_it_is_given(self, run, command):
        def check(name: str) -> None:
            raise ConfigError(f"theme {name!r} is not known")

        refused(run("--theme", "nosuch", *command, check_theme=check), "'nosuch'")

    def test_s_replay_is_refused_with_a_command_that_shows_none(self, run):
        refused(run("--replay", "r.jsonl", "presets", check_theme=lambda _: None), "--replay", "presets")

    def test_that_is_not_there_is_a_usage_error(self, run):
        refused(run(), "command")

    @pytest.mark.parametrize("speed", ["-1", "fast"])
    def test_refuses_a_wrong_speed(self, run, speed):
        refused(run("--speed", speed, open_tui=lambda _: 0), "--speed")

    @pytest.mark.parametrize(("error", "code"), [(ServerStartError("why"), 3), (ParityError("why"), 4)])
    def test_s_errors_are_said_in_words(self, run, error, code):
        def fail(_: TuiOptions) -> int:
            raise error

        assert run(open_tui=fail) == (code, "", "why\n")

    def test_s_faults_are_one_line_with_the_trace_in_a_file(self, run, own_folders):
        def fail(_: TuiOptions) -> int:
            raise ZeroDivisionError("by ours")

        code, out, err = run(open_tui=fail)
        assert (code, out) == (Exit.FAULT, "")
        assert len(err.splitlines()) == 1
        log = own_folders / "state" / "tfserve-tui.log"
        assert str(log) in err
        assert "by ours" in err

    def test_ended_by_ctrl_c_is_no_fault(self, run):
        def interrupt(_: TuiOptions) -> int:
            raise KeyboardInterrupt

        code, _, err = run(open_tui=interrupt)
        assert code == Exit.INTERRUPTED
        assert "fault" not in err


def test_the_trace_of_a_fault_is_in_the_log_file(tmp_path):
    """In a process of its own, since the log is configured once a process."""
    script = (
        "from serving_ctl.cli import main; from serving_ctl.cli.face import Face; import sys; "
        "sys.exit(main([], face=Face(open_tui=lambda _: 1 // 0, check_theme=print, serve_web=None)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == Exit.FAULT
    assert "Traceback" not in done.stderr
    log = (tmp_path / "state" / "tfserve-tui.log").read_text(encoding="utf-8")
    assert "Traceback" in log
    assert "ZeroDivisionError" in log


class TestPresets:
    def test_as_text(self, run):
        code, out, err = run("presets")
        assert (code, err) == (Exit.DONE, "")
        lines = out.splitlines()
        assert [line.split()[:2] for line in lines[:5]] == [
            ["0", "smoke"],
            ["1", "batch-small"],
            ["2", "batch-large"],
            ["3", "concurrency"],
            ["4", "full"],
        ]
        assert all("cells" in line and "rounds" in line for line in lines)

    def test_as_json(self, run):
        code, out, err = run("presets", "--json")
        assert (code, err) == (Exit.DONE, "")
        smoke = json.loads(out)[0]
        assert (smoke["name"], smoke["key"], smoke["cells"], smoke["rounds"]) == ("smoke", "0", 8, 2)
        assert smoke["expected_s"] > 0

    def test_of_a_broken_file(self, run, own_folders):
        (own_folders / "config").mkdir()
        (own_folders / "config" / "presets.toml").write_text("[mine]\ntitel = 1\n")
        refused(run("presets"), "presets.toml", "[mine]", "'titel'", "'title'")


@pytest.mark.parametrize("command", [("presets",), ("status",), ("run", "smoke", "--dry-run"), ("up",)])
def test_settings_that_are_not_there(run, command):
    refused(run("--config", "nowhere.toml", *command), "nowhere.toml", "--config")


def test_settings_with_an_unknown_key(run, own_folders):
    (own_folders / "mine.toml").write_text("[flask]\nprot = 1\n")
    for words in (("--config", "mine.toml", "status"), ("run", "smoke", "--config", "mine.toml")):
        refused(run(*words), "mine.toml", "[flask]", "'prot'", "'port'")


class TestDryRun:
    def test_says_what_would_be_measured_and_measures_nothing(self, run, own_folders):
        code, out, err = run("run", "smoke", "--dry-run")
        assert (code, err) == (Exit.DONE, "")
        assert "smoke: batch 1, 10; 2 rounds" in out
        assert "8 cells" in out
        assert list(own_folders.iterdir()) == []

    def test_with_profile_and_rounds(self, run):
        out = run("run", "batch-large", "--profile", "publish", "--rounds", "2", "--dry-run")[1]
        assert "10,000; 2 rounds" in out
        assert "20 cells of at least 10 s and 1,000 requests" in out

    def test_as_json_is_only_json(self, run):
        code, out, _ = run("run", "smoke", "--dry-run", "--json")
        assert code == Exit.DONE
        assert "smoke" in json.dumps(json.loads(out))


class TestRun:
    @pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",)])
    def test_of_an_unknown_preset_names_the_nearest(self, run, options):
        refused(run("run", "batchsmal", *options), "'batchsmal'", "'batch-small'")

    @pytest.mark.parametrize("options", [(), ("--dry-run",)])
    def test_of_odd_rounds(self, run, options):
        refused(run("run", "smoke", "--rounds", "3", *options), "--rounds", "even")

    def test_of_no_rounds(self, run):
        refused(run("run", "smoke", "--rounds", "0"), "--rounds")

    def test_of_an_unknown_profile(self, run):
        refused(run("run", "smoke", "--profile", "fast"), "--profile", "quick")

    def test_of_an_unknown_runtime(self, run):
        refused(run("run", "smoke", "--runtime", "podman"), "--runtime", "docker")

    @pytest.mark.parametrize("name", ["out.txt", "out", "out.mdx"])
    def test_with_an_export_of_an_unknown_ending(self, run, name):
        refused(run("run", "smoke", "--export", "good.md", "--export", name), name, ".md")

    def test_with_an_export_into_no_folder(self, run):
        refused(run("run", "smoke", "--export", "nowhere/out.md"), "nowhere/out.md", "folder")

    def test_with_a_recording_into_no_folder(self, run, own_folders):
        refused(run("run", "smoke", "--events", "nowhere/r.jsonl"), "nowhere/r.jsonl", "folder")
        assert not (own_folders / "nowhere").exists()

    def test_without_a_model_says_how_to_make_one(self, run):
        code, out, err = run("run", "smoke")
        assert (code, out) == (Exit.USAGE, "")
        assert "release/text_cnn" in err
        assert "textcnn-export" in err

    def test_that_cannot_start_keeps_an_earlier_recording(self, run, own_folders):
        (own_folders / "r.jsonl").write_text("{}\n")
        (own_folders / "mine.toml").write_text(
            "\n".join(
                f'[{table}]\nruntime = "external"\nurl = "http://127.0.0.1:1"\nstart-timeout-s = 1.0'
                for table in ("tf-serving", "flask")
            )
        )
        code, out, err = run("--config", "mine.toml", "run", "smoke", "--events", "r.jsonl", "--timeout", "1")
        assert (code, out) == (Exit.NOT_STARTED, ""), err
        assert (own_folders / "r.jsonl").read_text() == "{}\n"


class TestLoad:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("-n", "1", "-z", "2"), ("-n", "-z")),
            (("-n", "0"), ("-n",)),
            (("-z", "0"), ("-z",)),
            (("-c", "0"), ("-c",)),
            (("--rate", "-1"), ("--rate",)),
            (("-H", "no colon"), ("no colon",)),
            (("--processes", "0"), ("--processes",)),
            (("--processes", "many"), ("--processes", "auto")),
            (("--body", "nowhere.json", "-n", "1"), ("nowhere.json",)),
        ],
    )
    def test_of_wrong_options(self, run, options, words):
        refused(run("load", "http://127.0.0.1:1/", *options), *words)

    @pytest.mark.parametrize("url", ["foo", "ftp://127.0.0.1/"])
    def test_of_a_url_it_cannot_load(self, run, url):
        refused(run("load", url, "-n", "1"), url, "http://")

    def test_of_a_server_that_is_not_there(self, run):
        code, out, err = run("load", "http://127.0.0.1:1/", "-n", "2", "--json")
        assert (code, err) == (Exit.INCOMPLETE, "")
        document = json.loads(out)
        assert document["requests"] == 0
        assert document["errors"] == {"connect refused": 2}
        assert document["latency_ms"]["p50"] is None


class TestServers:
    def test_status_of_nothing_is_three(self, run):
        code, out, _ = run("status")
        assert code == Exit.NOT_STARTED
        assert [line.split(":")[0] for line in out.splitlines()] == ["tf-serving", "flask"]
        assert out.count("stopped") == 2

    def test_status_as_json(self, run):
        code, out, err = run("status", "--json")
        assert (code, err) == (Exit.NOT_STARTED, "")
        assert [(s["server"], s["state"]) for s in json.loads(out)] == [
            ("tf-serving", "stopped"),
            ("flask", "stopped"),
        ]

    def test_metadata_of_nothing_says_how_to_start(self, run):
        code, out, err = run("metadata")
        assert (code, out) == (Exit.NOT_STARTED, "")
        assert "tfserve-tui up" in err

    def test_workers_of_nothing_says_how_to_start(self, run):
        code, out, err = run("workers")
        assert (code, out) == (Exit.NOT_STARTED, "")
        assert "tfserve-tui up flask" in err

    def test_logs_of_nothing_says_so(self, run):
        code, out, err = run("logs", "flask")
        assert (code, out) == (Exit.DONE, "")
        assert "flask has no log" in err
        assert "tfserve-tui up flask" in err

    def test_down_of_nothing_is_fine(self, run):
        code, out, _ = run("down")
        assert code == Exit.DONE
        assert out.count("stopped") == 2

    def test_up_without_a_model_says_how_to_make_one(self, run):
        refused(run("up"), "textcnn-export")

    @pytest.mark.parametrize("command", ["up", "down", "logs"])
    def test_an_unknown_server(self, run, command):
        refused(run(command, "tfserving"), "'tfserving'", "tf-serving")


class TestWeb:
    @pytest.mark.parametrize(
        ("host", "warned"), [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)]
    )
    def test_gives_the_address_and_warns_where_others_reach_it(self, run, host, warned):
        seen = []

        async def serve(options, host, port, opened):
            seen.append((options, host, port))
            opened("http://there:1/")

        code, out, err = run(
            "--theme", "nord", "web", "--config", "mine.toml", "--port", "0", "--host", host, serve_web=serve
        )
        assert (code, out) == (Exit.DONE, "http://there:1/\n")
        assert seen == [(TuiOptions(config=Path("mine.toml"), theme="nord"), host, 0)]
        assert ("anybody" in err) is warned
        assert "Ctrl-C" in err

    def test_that_cannot_listen_is_a_server_that_would_not_start(self, run):
        async def serve(*_):
            raise ServerStartError("port 1 is taken")

        assert run("web", serve_web=serve) == (Exit.NOT_STARTED, "", "port 1 is taken\n")

    @pytest.mark.parametrize("port", ["-1", "65536", "http"])
    def test_of_a_wrong_port(self, run, port):
        refused(run("web", "--port", port, check_theme=lambda _: None), "--port")


def test_a_reader_that_goes_away_is_no_fault():
    read, write = os.pipe()
    os.close(read)
    script = "import sys; from serving_ctl.cli import main; sys.exit(main(['presets']))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
