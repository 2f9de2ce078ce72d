"""What panes and dialogs say, without an app: names of keys, snippets, rows of runs, wrong fields, long answers."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import tui
from serving_ctl.bench.presets import load_presets, parse_preset
from serving_ctl.bench.progress import Progress
from serving_ctl.errors import ConfigError
from serving_ctl.events import ServerChanged, ServerState
from serving_ctl.results.record import RateRange, RunSummary
from tui import keys
from tui.history_rows import details_of, row_of, widths_of
from tui.inquiry import not_disturbed
from tui.json_text import json_text, shortened
from tui.panes.try_it import in_order_of
from tui.preset_fields import fields_of, guilty, table_of, text_of
from tui.snippets import grpc_obstacle

VERBS = (
    "adds|asks|calls|cancels|compares|copies|exports|goes|marks|opens|quits|restarts|runs|saves|sends|shows|starts|stops"
    "|uses"
)
LITERAL_KEY = re.compile(rf"(?<![\w{{’'])([a-z]|F\d|Ctrl-\w|space) (?:again )?(?:{VERBS})\b")
"""A sentence that names a key itself instead of asking the table of keys, so that it is wrong for a remapped one."""


def sentences() -> Iterator[tuple[str, str]]:
    """(file, text) of every string in the UI that a user may read."""
    folder = Path(str(tui.__file__)).parent
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
                yield path.name, node.value


def test_no_sentence_names_a_key_by_itself() -> None:
    found = [(name, text) for name, text in sentences() if name != "keys.py" and LITERAL_KEY.search(text)]
    assert found == []


def test_every_key_that_a_sentence_asks_for_is_in_the_table() -> None:
    known = {key.id for key in keys.KEYS}
    asked = {name for _, text in sentences() for name in re.findall(r"\{([a-z]+_\w+|quit|update|copy|help)\}", text)}
    assert {"toggle_servers", "cancel_run", "logs_show_all"} <= asked <= known


@pytest.mark.parametrize(
    ("server", "runtime", "label", "words"),
    [
        ("tf-serving", "embedded", "embedded (TF-Serving-compatible)", "speaks REST alone"),
        ("tf-serving", "native", "native", "adopt that container"),
        ("tf-serving", "docker", "docker", "-p 127.0.0.1:8500:8500"),
        ("tf-serving", "docker", "docker, adopted", ""),
        ("tf-serving", "external", "external", ""),
        ("flask", "gunicorn", "gunicorn 4 × sync", "flask speaks REST alone"),
        ("flask", "external", "external", "flask speaks REST alone"),
        ("eu", "external", "external", ""),
    ],
)
def test_grpc_is_offered_only_where_something_may_listen(server: str, runtime: str, label: str, words: str) -> None:
    said = grpc_obstacle(ServerChanged(server=server, state=ServerState.READY, runtime=runtime, label=label))
    assert words in said
    assert bool(said) == bool(words)


def test_what_is_wrong_with_a_preset_is_said_at_its_field() -> None:
    table = msgspec.to_builtins(load_presets()["full"])
    fields = fields_of(table)
    assert [field.label for field in fields[1:4:2]] == ["batch-small: batch sizes", "batch-large: batch sizes"]
    texts = {field.key: text_of(table, field) for field in fields} | {"2.sizes": "10 1"}
    with pytest.raises(ConfigError, match="ascending") as caught:
        parse_preset("full", table_of(table, texts))
    found = guilty(str(caught.value), fields, {"2.sizes", "title"})
    assert found is not None
    assert found.key == "2.sizes"
    assert guilty(str(caught.value), fields, {"title"}) is None


def test_the_list_of_runs_fits_80_columns_and_tells_equal_presets_apart() -> None:
    run = RunSummary(
        run_id="20261122-180432-3fa9", started_at="2026-11-22T18:04:32+00:00", preset="batch-small-by-columns",
        title="", rounds=4, profile="quick", model="text_cnn v1", cells=80, planned=80, state="finished",
        targets=("embedded (TF-Serving-compatible)", "gunicorn 4 × sync"),
        rates=(RateRange(ladder="a", low=0.39, high=0.52), RateRange(ladder="b", low=0.3, high=1.2)),
        baselines=("before the change",), duration_s=190.0,
    )  # fmt: skip
    runs = (run, msgspec.structs.replace(run, started_at="2026-11-22T18:04:59+00:00", baselines=()))
    rows = [row_of(one, marked=False) for one in runs]
    widths = widths_of(rows, 80)
    assert sum(width + 1 for width in widths.values()) <= 80
    assert {"begun", "preset", "servers", "state", "rate", "baseline"} <= widths.keys()
    assert "11-22 18:04:32" in rows[0]
    assert rows[0][1] != rows[1][1]
    assert widths_of(rows, 200).keys() >= {"cells", "model"}
    assert all(words in details_of(run) for words in (run.run_id, "before the change", "(TF-Serving-compatible)"))


def test_while_a_run_begins_a_server_that_is_down_is_called_that() -> None:
    assert not_disturbed("flask", Progress()).problem.startswith("not running yet")


def test_answers_side_by_side_have_their_keys_in_one_order() -> None:
    first = {"predictions": [{"label": "a", "scores": [0.1]}]}
    other = {"predictions": [{"more": 1, "scores": [0.2], "label": "b"}, {"scores": [], "label": ""}]}
    shown = in_order_of(other, first)
    assert shown == other
    assert list(shown["predictions"][0]) == ["label", "scores", "more"]
    assert in_order_of(other, None) == other


def test_a_run_without_a_baseline_leaves_its_column_out() -> None:
    rows = [("", "01-02 14:02:31", "batch-small quick", "embedded / flask", "✓ finished", "0.40 … 0.50", "", "", "")]
    widths = widths_of(rows, 80)
    assert "baseline" not in widths
    assert widths["preset"] == len("batch-small quick")


def test_json_is_shown_short_and_cut_where_nobody_reads_on() -> None:
    answer = {"predictions": [[0.25, 0.75]] * 3, "deep": {"empty": [], "long": list(range(100))}, "wide": "电影很好"}
    text = json_text(answer)
    assert json.loads(text) == answer
    assert '  "wide": "电影很好"' in text
    assert '  "predictions": [[0.25, 0.75], [0.25, 0.75], [0.25, 0.75]],' in text.splitlines()
    assert shortened("\n".join("abc"), 2) == "a\nb\n… and 1 line more"
