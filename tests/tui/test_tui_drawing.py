"""The drawing functions as strings, without an app."""

from __future__ import annotations

import math
import shlex
import subprocess
from functools import reduce
from itertools import pairwise

import msgspec
import pytest
import recordings
import scripted

from serving_ctl.bench.presets import load_presets, parse_preset
from serving_ctl.bench.progress import Progress, advance
from serving_ctl.engine import parse_model
from serving_ctl.errors import ConfigError
from serving_ctl.events import Cell, CellTick, Event, Ladder, Part, ServerChanged, ServerSampled, ServerState
from serving_ctl.results.details import detail_tables
from serving_ctl.results.metrics import REQUEST_TIME, THROUGHPUT, Metric
from serving_ctl.results.record import RunRecord, fold_record
from serving_ctl.results.series import Curve, curves
from serving_ctl.results.tables import headline_table, ratio_table
from tui.answer import answer
from tui.drawing import (
    Span,
    apart,
    cut,
    cut_line,
    flow,
    line,
    line_width,
    narrowest,
    on_the_point,
    plain,
    right,
    server_glyph,
    server_role,
    wrap,
)
from tui.log_lines import ERROR, INFO, WARNING, LogLines, severity
from tui.possible import Situation
from tui.preset_fields import fields_of, table_of, text_of
from tui.snippets import curl_snippet, grpc_snippet, python_snippet
from tui.steps import step_in_flight, steps_of
from tui.widgets.fairness_card import fairness_lines, fairness_summary
from tui.widgets.histogram_chart import histogram_lines
from tui.widgets.latency_chart import chart_lines
from tui.widgets.log_tail import tail_lines
from tui.widgets.plot import Canvas, fitted_scale, nice_scale, plot_lines, slots_of, tick_text
from tui.widgets.preset_list import preset_lines
from tui.widgets.row_details import Choice, detail_lines
from tui.widgets.run_line import preparing_lines, run_lines, starting_words
from tui.widgets.server_card import CardView, card_line, card_lines, sparkline
from tui.widgets.sheet import bar, bar_top, briefer, scale_text, sheet_lines
from tui.widgets.size_chart import log_scale, size_chart_lines


def record_of(**how: object) -> RunRecord:
    return fold_record(recordings.recording(**how), "test")  # type: ignore[arg-type]


def progress_of(**how: object) -> Progress:
    return reduce(advance, recordings.recording(**how), Progress())  # type: ignore[arg-type]


def tick(size: int, server: str, ms: float | None, phase: str = "window") -> CellTick:
    cell = Cell(ladder="batch-small", size=size, server=server, round=1)
    return CellTick(
        cell=cell, phase=phase, elapsed_s=0.1, requests=1, errors=0, p50_ms=ms, max_ms=ms, throughput_rps=1.0
    )


class TestText:
    def test_cut_shows_that_something_is_missing(self) -> None:
        assert cut("inconclusive", 6) == "incon…"
        assert cut("tie", 6) == "tie"

    def test_wide_characters_take_two_columns(self) -> None:
        assert cut("模型服务", 5) == "模型…"
        assert right("模型", 6) == "  模型"

    def test_wrap_breaks_at_blanks_and_behind_hyphens(self) -> None:
        assert wrap("embedded (TF-Serving-compatible) ms", 14) == ["embedded (TF-", "Serving-", "compatible) ms"]

    @pytest.mark.parametrize("width", range(1, 60))
    def test_wrap_never_exceeds_its_width_nor_loses_a_letter(self, width: int) -> None:
        text = "rate = embedded (TF-Serving-compatible) / flask; http://127.0.0.1:8501/v1/models/a_rather_long_name"
        lines = wrap(text, width)
        assert max(map(len, lines)) <= width
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")

    def test_narrowest_is_the_smallest_width_for_that_many_lines(self) -> None:
        heading = "embedded (TF-Serving-compatible) ms"
        assert narrowest(heading, 2) == 21
        assert len(wrap(heading, 21)) == 2
        assert len(wrap(heading, 20)) == 3

    def test_numbers_stand_on_their_decimal_point(self) -> None:
        padded = on_the_point(["1.93", "46.1", "1,234", "0.042", "·", "–"])
        assert padded == ["1.93 ", "46.1  ", "1,234    ", "0.042", "·", "–"]

    def test_flow_begins_a_line_where_a_piece_does_not_fit(self) -> None:
        assert plain(flow([line("first"), line("second"), line("third")], 16, gap=2)) == ["first  second", "third"]

    def test_apart_lets_the_start_give_way(self) -> None:
        assert plain([apart(line("a long beginning"), line("end"), 10)]) == ["a lon… end"]

    def test_cut_line_keeps_roles(self) -> None:
        assert cut_line((Span("abc", "quiet"), Span("def", "warn")), 5) == (Span("abc", "quiet"), Span("d…", "warn"))


class TestPlot:
    @pytest.mark.parametrize(
        ("highest", "most", "scale"),
        [(9.3, 5, (0, 2, 4, 6, 8, 10)), (0.7, 4, (0, 0.2, 0.4, 0.6, 0.8)), (12000, 3, (0, 5000, 10000, 15000))],
    )
    def test_scale_starts_at_zero_with_round_steps(self, highest: float, most: int, scale: tuple[float, ...]) -> None:
        assert nice_scale(highest, most) == pytest.approx(scale)

    @pytest.mark.parametrize("highest", [0.0, -1.0, math.nan])
    def test_nothing_to_scale_gives_zero_to_one(self, highest: float) -> None:
        assert nice_scale(highest, 5) == (0.0, 1.0)

    def test_tick_texts_are_short(self) -> None:
        assert [tick_text(value) for value in (0.0, 2.5, 1000.0)] == ["0", "2.5", "1,000"]

    def test_without_ticks_there_is_an_empty_plot_with_its_axis(self) -> None:
        drawn = plain(plot_lines([], 40, 8))
        assert len(drawn) == 8
        assert drawn[-2].lstrip().startswith("└")
        assert "●" not in "".join(drawn)

    def test_one_tick_of_each_server_share_scale_and_slot(self) -> None:
        slots = slots_of([tick(7, "tf-serving", 2.0), tick(7, "flask", 8.0)])
        drawn = plain(plot_lines(slots, 40, 12))
        rows = {mark: next(n for n, text in enumerate(drawn) if mark in text) for mark in "●■"}
        assert rows["■"] < rows["●"]
        labelled = [n for n, text in enumerate(drawn) if "┤" in text]
        assert [drawn[n].split()[0] for n in labelled] == ["8", "6", "4", "2", "0"]
        assert len({below - above for above, below in pairwise(labelled)}) == 1
        assert labelled[-1] == 9
        assert drawn[-1].strip() == "7"

    def test_warm_ups_and_unmeasured_ticks_are_left_out(self) -> None:
        ticks = [tick(1, "flask", 90.0, "warmup"), tick(1, "flask", None), tick(1, "flask", math.nan)]
        assert slots_of(ticks) == []

    def test_a_spike_sets_the_scale_while_it_is_in_sight(self) -> None:
        values = [tick(1, "flask", ms) for ms in (5.0, 5.0, 47.0, 5.0)]
        assert plain(plot_lines(slots_of(values), 40, 12))[0].startswith("60 ┤")

    @pytest.mark.parametrize("rows", range(2, 30))
    @pytest.mark.parametrize("highest", [0.0, 0.7, 1.9, 3.1, 9.3, 47.0, 12000.0])
    def test_labels_are_evenly_spaced_and_the_data_fits(self, rows: int, highest: float) -> None:
        scale = fitted_scale(highest, rows)
        canvas = Canvas(40, rows, scale)
        found = [canvas.row_of(value) for value in scale]
        assert found[0] == rows - 1
        assert len({above - below for above, below in pairwise(found)}) == 1
        assert highest <= scale[-1]
        assert found[-1] >= 0

    def test_a_mark_stands_in_the_row_of_the_nearest_label(self) -> None:
        canvas = Canvas(40, 5, (0.0, 5.0, 10.0))
        rows = {value: canvas.row_of(value) for value in (0.0, 1.2, 2.5, 5.0, 10.0)}
        assert rows == {0.0: 4, 1.2: 4, 2.5: 3, 5.0: 2, 10.0: 0}

    def test_rounds_are_named_where_they_begin(self) -> None:
        rule = plain(plot_lines(slots_of(progress_of(cells=34, end="running").ticks), 90, 10))[-2]
        assert rule.count("round 1") == rule.count("round 2") == 1
        assert rule.index("round 1") < rule.index("round 2")

    def test_the_newest_slots_stay_in_sight(self) -> None:
        ticks = [tick(size, server, 1.0 * size) for size in range(1, 31) for server in ("tf-serving", "flask")]
        sizes = plain(plot_lines(slots_of(ticks), 60, 10))[-1].split()
        assert sizes[-1] == "30"
        assert 4 <= len(sizes) <= 9

    @pytest.mark.parametrize("width", [20, 33, 80, 300])
    @pytest.mark.parametrize("height", [4, 9, 40])
    def test_every_line_fits(self, width: int, height: int) -> None:
        drawn = plot_lines(slots_of(progress_of().ticks), width, height)
        assert len(drawn) == height
        assert max(map(line_width, drawn)) <= width

    def test_no_room_draws_nothing(self) -> None:
        assert plot_lines([], 10, 3) == []

    def test_legend_names_both_servers_and_their_newest_numbers(self) -> None:
        drawn = plain(chart_lines(progress_of(cells=5, end="running"), 120, 12))
        legend = " ".join(drawn[:2])
        assert "● embedded at 3: p50" in legend
        assert "■ flask at 3: p50" in legend
        assert "req/s" in legend


def chart_of(*ladders: Ladder, size: int | None = None, width: int = 83, height: int = 14, **how: object) -> list[str]:
    record = record_of_ladders(*ladders, **how)
    ladder = record.started.ladders[0]
    return plain(size_chart_lines(curves(record, ladder, REQUEST_TIME), ladder, REQUEST_TIME, width, height, size=size))


def record_of_ladders(*ladders: Ladder, **how: object) -> RunRecord:
    return fold_record(recordings.recording(*ladders, **how), "test")  # type: ignore[arg-type]


class TestSizeChart:
    def test_one_point_a_size_and_server_on_one_scale_from_zero(self) -> None:
        drawn = chart_of(size=7)
        text = "\n".join(drawn)
        assert drawn[0].startswith("p50 request time, ms by batch size · from 0")
        assert "● embedded at 7: 2.56 (" in text
        plotted = "".join(drawn[2:-2])
        assert plotted.count("●") == plotted.count("■") == len(recordings.SMALL.sizes)
        assert [one.split()[0] for one in drawn if "┤" in one][-1] == "0"
        assert drawn[-1].split() == [str(size) for size in recordings.SMALL.sizes]

    def test_a_long_ladder_has_logarithmic_axes_and_says_so(self) -> None:
        drawn = chart_of(recordings.LARGE)
        assert "both axes log" in drawn[0]
        rows = [n for n, text in enumerate(drawn[2:-2]) if "●" in text]
        assert len(rows) >= 4, "small sizes do not lie flat on the ground"
        assert [one.split()[0] for one in drawn if "┤" in one] == ["2,000", "1,000", "100", "10", "1"]
        assert drawn[-1].split() == ["1", "10", "100", "1,000", "10,000"]

    def test_nothing_measured_yet_says_what_will_be_there(self) -> None:
        assert "No cell of this test has finished" in chart_of(cells=0, end="running")[-1]

    def test_one_cell_is_one_point(self) -> None:
        drawn = "".join(chart_of(cells=1, end="running")[2:-2])
        assert (drawn.count("●"), drawn.count("■")) == (1, 0)

    def test_the_wide_interval_of_two_rounds_does_not_flatten_the_points(self) -> None:
        curve = Curve(
            server="flask", name="flask", sizes=(1, 2), values=(4.0, 5.0), low=(0.1, 0.1), high=(400.0, 500.0)
        )
        ladder = Ladder(name="two", kind="batch", sizes=(1, 2))
        drawn = plain(size_chart_lines([curve], ladder, REQUEST_TIME, 60, 14))
        assert next(one.split()[0] for one in drawn if "┤" in one) in {"7.5", "8"}

    @pytest.mark.parametrize("ladder", [recordings.SMALL, recordings.LARGE], ids=["small", "large"])
    @pytest.mark.parametrize("width", [10, 30, 78, 300])
    @pytest.mark.parametrize("height", [2, 6, 40])
    def test_every_line_fits(self, ladder: Ladder, width: int, height: int) -> None:
        record = fold_record(recordings.with_more_servers(recordings.recording(ladder), "eu", "模型"), "test")
        found = curves(record, ladder, REQUEST_TIME)
        drawn = size_chart_lines(found, ladder, REQUEST_TIME, width, height, size=ladder.sizes[-1])
        assert max(map(line_width, drawn)) <= width
        assert len(drawn) <= height or width < 30 or height == 2

    @pytest.mark.parametrize(
        ("lowest", "highest", "scale"),
        [(1.9, 1713, (1, 10, 100, 1000, 2000)), (0.03, 4, (0.02, 0.1, 1, 5)), (10, 1000, (10, 100, 1000))],
    )
    def test_log_scales_end_at_round_numbers(self, lowest: float, highest: float, scale: tuple[float, ...]) -> None:
        assert log_scale(lowest, highest) == pytest.approx(scale)


class TestAnswer:
    def told(self, events: list[Event], metric: Metric = REQUEST_TIME) -> list[Span]:
        record = fold_record(events, "test")
        ladder = record.started.ladders[0]
        return list(answer(ratio_table(record, ladder, metric), record.targets[0].name, metric))

    def test_it_says_who_is_faster_by_how_much_in_how_many_rows_and_what_to_beware_of(self) -> None:
        assert self.told(recordings.recording()) == [
            Span("embedded is 2.10 … 2.42 × as fast as flask in all 10 rows", "strong better"),
            Span("! row 3 UNSTABLE", "warn"),
        ]

    def test_each_other_server_has_its_own_and_no_difference_is_said(self) -> None:
        us, ap = self.told(recordings.three_targets())
        assert us == Span("eu is 1.30 … 1.45 × as fast as us in all 10 rows", "strong better")
        assert ap.text.endswith("as fast as ap in 1 of 10; no sure difference in 9 of 10")
        assert ap.role == "strong even"

    def test_where_more_is_better_it_does_not_speak_of_fast(self) -> None:
        assert "gives" in self.told(recordings.recording(), THROUGHPUT)[0].text

    def test_the_slower_first_server_is_not_called_faster(self) -> None:
        first = msgspec.structs.replace(recordings.FLASK, server="flask")
        told = self.told(recordings.recording(first=first, others=(recordings.EMBEDDED,)))
        assert told[0].text.startswith("embedded is 2.")
        assert told[0].role == "strong worse"

    def test_nothing_measured_says_nothing(self) -> None:
        assert self.told(recordings.recording(cells=0, end="cancelled")) == []


class TestMoreServers:
    record = fold_record(recordings.with_more_servers(recordings.recording(), "eu.west", "模型服务器"), "test")
    sides = ("tf-serving", "flask", "eu.west", "模型服务器")

    @pytest.mark.parametrize("width", [40, 78, 83, 120, 200, 300])
    def test_the_table_leaves_out_what_is_least_needed_and_fits(self, width: int) -> None:
        table = headline_table(self.record, recordings.SMALL)
        lines = sheet_lines(table, width, sides=self.sides, cursor=0)
        assert {line_width(spans) for spans in lines} == {width}
        first = plain(lines)[-10]
        assert first.startswith("▸")
        kept = first.split()
        assert kept[1 if width < 120 else 2] in {"1", "1.90"}
        assert ("embedded" in first) == (width >= 200)
        assert first.endswith("▸") == (width == 40), "what is behind the edge is marked"

    def test_each_has_its_own_shape_and_colour_in_table_chart_and_details(self) -> None:
        shapes = {server_glyph(server) for server in self.sides}
        assert len(shapes) == len({server_role(server) for server in self.sides}) == len(self.sides)
        ladder = recordings.SMALL
        chart = size_chart_lines(curves(self.record, ladder, REQUEST_TIME), ladder, REQUEST_TIME, 120, 20)
        details = detail_lines(Choice(record=self.record, ladder=ladder, size=7), 160)
        for text in ("\n".join(plain(chart)), "\n".join(plain(details))):
            assert all(shape in text for shape in shapes)


class TestFirstScreen:
    presets = scripted.PRESETS

    def shown(self, now: Situation, offer: str = "", note: str = "", width: int = 83) -> str:
        return "\n".join(plain(preset_lines(self.presets, now, note, width, offer=offer)))

    def test_it_follows_the_state_of_the_servers(self) -> None:
        both = frozenset({"tf-serving", "flask"})
        assert "What does TensorFlow Serving give you" in self.shown(Situation(is_open=True), "Enter runs smoke.")
        ready = self.shown(Situation(is_open=True, servers_up=both), "Enter runs smoke.")
        assert "The servers are ready: press 1 to run batch-small" in ready
        assert "What does TensorFlow" not in ready
        assert "s calls that off" in self.shown(Situation(is_open=True, is_moving=True))

    def test_while_the_model_is_made_nothing_says_that_there_is_none(self) -> None:
        now = Situation(is_open=True, is_running=True, problem="No model at release/text_cnn.")
        assert "No model" not in self.shown(now)
        assert "! No model" in self.shown(msgspec.structs.replace(now, is_running=False))

    def test_wide_characters_in_a_title_leave_the_grid_whole(self) -> None:
        wide = msgspec.structs.replace(self.presets[0], name="烟雾测试", title="看看是否一切正常")
        lines = preset_lines((wide, *self.presets[1:]), Situation(is_open=True), "", 60)
        assert max(map(line_width, lines)) <= 60
        names = [text for text in plain(lines) if text[1:2].isdigit()]
        assert line_width(line(names[0].partition("看")[0])) == names[1].index("Batch test")


class TestSheet:
    def test_bar_grows_from_zero_in_eighths(self) -> None:
        assert bar(0.5, 1.0, 10) == "█████     "
        assert bar(0.55, 1.0, 10) == "█████▌    "
        assert bar(0.001, 1.0, 10).strip() != ""

    def test_bar_beyond_its_scale_says_so(self) -> None:
        assert bar(9.0, 5.0, 10).endswith("▸")

    def test_one_is_marked_on_a_longer_scale(self) -> None:
        assert bar(0.5, 2.0, 10) == "██▌  │    "
        assert scale_text(2.0, 12) == "0 ────1─── 2"
        assert scale_text(1.0, 12) == "0 ──────── 1"

    def test_scale_covers_the_largest_ratio(self) -> None:
        rows = ratio_table(record_of(), recordings.SMALL, THROUGHPUT).rows
        assert bar_top(rows) == 3.0
        assert bar_top(()) == 1.0

    @pytest.mark.parametrize(
        ("brevity", "text"),
        [(0, "inconclusive, about 12 rounds [UNSTABLE] [CLIENT-BOUND]"), (1, "inconclusive, about 12 rounds !"),
         (2, "inconclusive !")],
    )  # fmt: skip
    def test_verdicts_say_less_step_by_step(self, brevity: int, text: str) -> None:
        assert briefer("inconclusive, about 12 rounds [UNSTABLE] [CLIENT-BOUND]", brevity) == text

    @pytest.mark.parametrize("width", [78, 83, 100, 162])
    def test_cells_are_those_of_every_other_face(self, width: int) -> None:
        table = headline_table(record_of(), recordings.SMALL)
        drawn = plain(sheet_lines(table, width))[-len(table.rows) :]
        for row, text in zip(table.rows, drawn, strict=True):
            for cell in row.cells[:-1]:
                assert cell in text
            assert row.cells[-1].split(" [")[0] in text

    @pytest.mark.parametrize("width", [40, 60, 78, 83, 120, 200])
    def test_no_line_is_wider_than_the_screen(self, width: int) -> None:
        lines = sheet_lines(headline_table(record_of(), recordings.SMALL), width, cursor=3)
        assert {line_width(spans) for spans in lines} == {width}

    def test_long_headings_wrap_and_the_bar_stays(self) -> None:
        drawn = plain(sheet_lines(headline_table(record_of(), recordings.SMALL), 83))
        heading = drawn[:-10]
        assert 2 <= len(heading) <= 4
        assert "compatible" in "".join(heading)
        assert all("█" in text for text in drawn[-10:])

    def test_numbers_of_a_column_stand_on_their_point(self) -> None:
        drawn = plain(sheet_lines(headline_table(record_of(), recordings.SMALL), 120))[-10:]
        assert len({text.index(".") for text in drawn}) == 1

    def test_the_cursor_is_a_shape_too(self) -> None:
        drawn = plain(sheet_lines(headline_table(record_of(), recordings.SMALL), 120, cursor=2))
        assert [n for n, text in enumerate(drawn[-10:]) if text.startswith("▸")] == [2]


class TestDetails:
    def test_all_metrics_parts_and_tails_of_a_row(self) -> None:
        drawn = plain(detail_lines(Choice(record=record_of(), ladder=recordings.SMALL, size=7), 83))
        text = "\n".join(drawn)
        for words in ("batch size 7", "request time, ms", "service time, ms", "inference time, ms", "p99", "req/s"):
            assert words in text
        flask = next(line for line in drawn if "■ flask" in line and "█" in line)
        assert "░" in flask
        assert flask.split()[-1] == "5.61"

    def test_the_parts_bars_share_one_scale(self) -> None:
        drawn = plain(detail_lines(Choice(record=record_of(), ladder=recordings.SMALL, size=7), 83))
        bars = [sum(text.count(fill) for fill in "░▒▓▚█") for text in drawn if "█" in text and "graph" not in text]
        assert bars[0] / bars[1] == pytest.approx(2.56 / 5.61, abs=0.05)

    def test_an_unmeasured_row_says_what_will_be_there(self) -> None:
        choice = Choice(record=record_of(cells=2, end="running"), ladder=recordings.SMALL, size=9)
        assert "not measured yet" in plain(detail_lines(choice, 83))[0]

    def test_failures_and_flags_are_told_without_markup(self) -> None:
        failed = fold_record(recordings.with_failures(recordings.recording()), "test")
        text = "\n".join(plain(detail_lines(Choice(record=failed, ladder=recordings.SMALL, size=2), 83)))
        assert text.count("5xx") == 1
        assert "4 rounds: 28 × 5xx" in text
        assert "[/]" in text
        flagged = detail_lines(Choice(record=record_of(), ladder=recordings.SMALL, size=3), 83)
        assert "! UNSTABLE: throughput or median still moved" in "\n".join(plain(flagged))

    def test_each_rate_has_the_colour_of_its_own_verdict(self) -> None:
        record = fold_record(recordings.three_targets(), "test")
        spans = detail_lines(Choice(record=record, ladder=recordings.SMALL, size=1), 160)[1]
        roles = {span.text.strip(): span.role for span in spans}
        assert (roles["0.69"], roles["0.98"]) == ("strong better", "strong even")

    def test_the_addresses_that_shared_the_load_are_told_with_their_requests(self) -> None:
        record = record_of()
        sent = {"http://eu-1:8501": 40, "http://eu-2:8501": 38}
        cells = tuple(msgspec.structs.replace(cell, addresses=sent) for cell in record.cells)
        record = msgspec.structs.replace(record, cells=cells)
        text = " ".join(plain(detail_lines(Choice(record=record, ladder=recordings.SMALL, size=3), 120)))
        assert "requests by address, all rounds: eu-1:8501 160, eu-2:8501 152" in text
        table = next(one for one in detail_tables(record) if one.title.endswith("requests by address"))
        assert table.rows[0].cells == ("1", "embedded", "http://eu-1:8501", "160")

    def test_numbers_of_a_part_stand_on_their_point_and_none_is_cut(self) -> None:
        record = record_of()
        cells = tuple(
            msgspec.structs.replace(
                cell, parts=(Part(name="json", ms=12.5 if cell.cell.server == "flask" else 0.000213),)
            )
            for cell in record.cells
        )
        record = msgspec.structs.replace(record, cells=cells)
        drawn = plain(detail_lines(Choice(record=record, ladder=recordings.SMALL, size=3), 83))
        bars = [text for text in drawn if "0.000213" in text or "12.5" in text]
        assert len({text.rindex(".") for text in bars}) == 1

    @pytest.mark.parametrize("width", [60, 78, 83, 164])
    def test_every_line_fits(self, width: int) -> None:
        full = recordings.recording(recordings.SMALL, recordings.CONCURRENCY, preset="full")
        for ladder in (recordings.SMALL, recordings.CONCURRENCY):
            choice = Choice(record=fold_record(full, "test"), ladder=ladder, size=10)
            assert max(map(line_width, detail_lines(choice, width))) <= width


class TestCards:
    def test_a_ready_server_shows_runtime_address_and_load(self) -> None:
        samples = tuple(ServerSampled(server="flask", cpu_percent=10.0 * n, memory_mb=512, processes=5) for n in (1, 9))
        changed = ServerChanged(
            server="flask", state=ServerState.READY, label="gunicorn 4 × sync", url="http://127.0.0.1:7123"
        )
        drawn = plain(card_lines(CardView(server="flask", changed=changed, samples=samples, for_s=192.0), 32))
        assert drawn[0] == "✓ READY                 up 3m12s"
        assert drawn[1:3] == ["gunicorn 4 × sync", "127.0.0.1:7123"]
        assert drawn[3].endswith("90 %")
        assert drawn[4].endswith("512 MB")
        assert drawn[5].split()[:2] == ["queue", "–"], "a queue that cannot be seen is a dash"

    def test_gunicorns_queue_and_workers(self) -> None:
        samples = tuple(
            ServerSampled(server="flask", cpu_percent=9.0, memory_mb=512, processes=5, waiting=n) for n in (0, 7, 3)
        )
        changed = ServerChanged(server="flask", state=ServerState.READY, runtime="gunicorn", url="http://h:1")
        drawn = plain(card_lines(CardView(server="flask", changed=changed, samples=samples), 32))
        assert drawn[-1].split() == ["queue", "▁█▄", "3", "·", "4", "workers"]

    def test_a_server_of_somebody_else_says_what_cannot_be_seen(self) -> None:
        changed = ServerChanged(server="eu", state=ServerState.READY, runtime="external", label="external", ours=False)
        assert "cannot be seen" in " ".join(plain(card_lines(CardView(server="eu", changed=changed), 32)))

    def test_a_failed_server_says_why_in_full(self) -> None:
        why = "port 7123 is taken by process 4711 (python); stop it or set [flask] port."
        changed = ServerChanged(server="flask", state=ServerState.FAILED, label="gunicorn 4 × sync", detail=why)
        drawn = plain(card_lines(CardView(server="flask", changed=changed), 32))
        assert drawn[0] == "✗ FAILED"
        assert " ".join(drawn[2:]) == why

    def test_on_a_small_screen_a_failed_server_still_says_all(self) -> None:
        why = "port 7123 is taken by process 4711 (python); stop it or set [flask] port."
        changed = ServerChanged(server="flask", state=ServerState.FAILED, detail=why)
        drawn = plain(card_line(CardView(server="flask", changed=changed), 78))
        assert drawn[0].startswith("■ flask      ✗ FAILED  port 7123")
        assert why.rsplit(maxsplit=1)[-1] in drawn[1]

    def test_a_stopped_server_says_what_starts_it(self) -> None:
        assert "s starts both" in plain(card_lines(CardView(server="flask", hint="Not running; s starts both."), 32))[1]

    def test_the_runtime_label_fits_the_card(self) -> None:
        changed = ServerChanged(
            server="tf-serving", state=ServerState.READY, label="embedded (TF-Serving-compatible)", url="http://h:1"
        )
        assert "embedded (TF-Serving-compatible)" in plain(card_lines(CardView(server="x", changed=changed), 32))
        assert "embedded (TF-Serving-compatible)" in plain(card_line(CardView(server="x", changed=changed), 80))[0]

    @pytest.mark.parametrize("state", list(ServerState))
    def test_each_state_has_its_word_and_every_line_fits(self, state: ServerState) -> None:
        changed = ServerChanged(server="flask", state=state, label="l" * 50, url="http://" + "u" * 50, detail="d " * 99)
        for width in (20, 32, 38):
            view = CardView(server="flask", changed=changed, for_s=3.0)
            lines = [*card_lines(view, width), *card_line(view, width)]
            assert state.value.upper() in plain(lines)[0] or width == 20
            assert max(map(line_width, lines)) <= width

    def test_sparkline_starts_at_zero(self) -> None:
        assert sparkline([0, 50, 100], 100.0, 5) == "  ▁▅█"
        assert sparkline([], 0.0, 3) == "   "


class TestRunLine:
    def test_a_running_run_says_where_it_stands(self) -> None:
        drawn = plain(run_lines(progress_of(cells=34, end="running"), 84))
        assert drawn[0] == "batch-small  quick   round 2/4   batch size 1   ■ flask measuring"
        assert "34/80 cells · 1m" in drawn[1]
        assert "━" in drawn[1]

    def test_a_finished_run_names_the_next_key(self) -> None:
        assert "✓ done in 1m23s, 80 cells   e exports it" in plain(run_lines(progress_of(), 84))[0]

    def test_a_run_that_died_says_why_and_what_is_kept(self) -> None:
        text = " ".join(plain(run_lines(progress_of(cells=9, end="died"), 84)))
        assert "stopped early" in text
        assert "out of memory" in text
        assert "9 cells kept; e exports them" in text

    def test_a_run_without_cells_says_that_nothing_was_measured(self) -> None:
        text = " ".join(plain(run_lines(progress_of(cells=0, end="cancelled"), 84)))
        assert "cancelled" in text
        assert "Nothing was measured" in text

    def test_cancelling_is_said_at_once(self) -> None:
        assert "cancelling" in plain(run_lines(progress_of(cells=3, end="running"), 84, cancelling=True))[-2]
        assert "cancelling" in plain(preparing_lines("smoke", 84, cancelling=True))[0]

    def test_the_training_shows_how_far_it_is(self) -> None:
        drawn = plain(preparing_lines("smoke", 84, step="the model: epoch 2/2 50 %"))
        assert "epoch 2/2 50 %; c cancels" in drawn[0]
        assert drawn[1].endswith("75 %")

    def test_what_a_start_waits_for_is_said(self) -> None:
        waits = ServerChanged(server="flask", state=ServerState.STARTING, detail="waiting for REST")
        assert starting_words([waits]) == "flask starts: waiting for REST"

    def test_no_run_draws_nothing(self) -> None:
        assert run_lines(Progress(), 84) == []


def test_fairness_puts_warnings_first_and_sums_up() -> None:
    drawn = plain(fairness_lines(recordings.FACTS, 32))
    assert drawn[0] == "! embedded, not TF Serving"
    assert len(drawn) == len(recordings.FACTS)
    summary = plain([fairness_summary(recordings.FACTS, 80)])[0]
    assert summary.startswith("fairness ✓ 3  ! 2 embedded, not TF Serving")


def test_log_tail_keeps_the_end_and_drops_control_characters() -> None:
    lines = [f"line {n}" for n in range(99)] + ["bell\x07 [red]not markup[/]", "x" * 25]
    kept = LogLines()
    kept.add(lines)
    assert plain(tail_lines(kept.between(0, kept.end), 12, 5))[-3:] == [
        "  " + "x" * 10,
        "  " + "x" * 10,
        "  " + "x" * 5,
    ]
    assert plain(tail_lines(kept.between(0, kept.end - 1), 40, 2)) == ["  line 98", "  bell [red]not markup[/]"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-11-22 19:04:12.051070: I external/server.cc:34] Running", INFO),
        ("2026-11-22 19:04:12.051070: W external/util.cc:21] Failed to find", WARNING),
        ("2026-11-22 19:04:12.051070: E external/file.cc:401] no base path", ERROR),
        ("[2026-11-22 19:05:49 +0000] [2594] [INFO] Booting worker", INFO),
        ("[2026-11-22 19:05:49 +0000] [2594] [ERROR] Worker died", ERROR),
        ("ValueError: shapes differ", ERROR),
        ("E0000 00:00:1795374251.775471 2608 text_format.cc:430] Error parsing text", ERROR),
        ("E0000 00:00:1795374251.775471 2608 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error", INFO),
        ("E0000 00:00:1795374251.775471 2608 cuda_fft.cc:467] Unable to register cuFFT factory: Attempting", INFO),
        ("W0000 00:00:1795374251.775471 2608 computation_placer.cc:177] computation placer already registered.", INFO),
        ("2026-11-22 18:04:35.495325: W deprecation.py:50] From x.py:64: f is deprecated and will be removed in", INFO),
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", INFO),
    ],
)
def test_severity_is_read_from_each_servers_own_words(text: str, level: int) -> None:
    assert severity(text) == level


def test_log_lines_are_bounded_and_their_positions_stay_true() -> None:
    lines = LogLines(limit=10)
    lines.add(f"line {n}" for n in range(25))
    assert (lines.begin, lines.end, lines.kept) == (15, 25, 10)
    assert lines.between(20, 22) == ["line 20", "line 21"]
    lines.choose("LINE 2", INFO)
    assert lines.between(0, lines.end) == [f"line {n}" for n in range(20, 25)]
    lines.add(["[1] [ERROR] line 29"])
    assert lines.first_error() == 5


def test_a_histogram_has_a_band_a_server_on_one_axis_from_zero() -> None:
    targets = record_of().targets
    bins = {"tf-serving": ((1.0, 90), (2.0, 10)), "flask": ((4.0, 300), (900.0, 1))}
    drawn = plain(histogram_lines(targets, bins, "batch size 7", 90, 12))
    assert len(drawn) == 11
    assert max(map(len, drawn)) <= 90
    assert "highest bar 300 requests" in drawn[0]
    assert drawn[-1].split()[0] == "0"
    assert drawn[-1].endswith("ms")
    assert any("1 ▸" in text for text in drawn)
    assert sum("█" in text for text in drawn) >= 4
    assert "Filled in" in plain(histogram_lines(targets, {}, "batch size 7", 90, 12))[1]


def test_the_clients_own_floor_stands_in_the_details() -> None:
    record = record_of()
    cells = tuple(msgspec.structs.replace(cell, client_floor_ms=0.125) for cell in record.cells)
    choice = Choice(record=msgspec.structs.replace(record, cells=cells), ladder=recordings.SMALL, size=3)
    assert "client's own floor 0.125" in "\n".join(plain(detail_lines(choice, 120)))


def test_snippets_ask_for_the_body() -> None:
    model = parse_model(scripted.METADATA)
    body = b'{"signature_name":"text","instances":["it\'s fine"]}'
    url = "http://127.0.0.1:8501"
    assert shlex.split(curl_snippet(url, "text_cnn", body).replace("\\\n", ""))[-1] == body.decode()
    for script in (
        python_snippet(url, "text_cnn", body),
        grpc_snippet("h", "text_cnn", model.signatures[1], body),
        grpc_snippet("h", "text_cnn", model.signatures[0], b'{"instances":[[1,2]]}'),
    ):
        compile(script, "snippet", "exec")
    headers = {"Authorization": "env:TOKEN", "X-Team": "it's us"}
    curl = curl_snippet(url, "text_cnn", body, headers)
    asked = subprocess.run(
        ["sh", "-c", curl.replace("curl -s", "printf '%s\\n'", 1)],
        env={"TOKEN": "a b"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.splitlines()[1:5] == ["-H", "Authorization: a b", "-H", "X-Team: it's us"]
    script = python_snippet(url, "text_cnn", body, headers)
    assert """headers = {'Authorization': os.environ['TOKEN'], 'X-Team': "it's us"}""" in script.splitlines()
    compile(script, "snippet", "exec")
    assert '["it\'s fine"], dtype=tf.string' in grpc_snippet("h", "text_cnn", model.signatures[1], body)


def test_a_preset_goes_through_its_form_unchanged() -> None:
    for name, preset in load_presets().items():
        table = msgspec.to_builtins(preset)
        texts = {field.key: text_of(table, field) for field in fields_of(table)}
        assert parse_preset(name, table_of(table, texts)) == preset
    with pytest.raises(ConfigError, match=r"rounds.*give a whole number, not 'many'"):
        table_of(table, {**texts, "rounds": "many"})


def test_steps_are_the_tables_of_the_export() -> None:
    from serving_ctl.results.tables import ladder_tables

    full = fold_record(
        recordings.with_failures(recordings.recording(recordings.SMALL, recordings.CONCURRENCY, preset="full")), "test"
    )
    assert tuple(step.table(full) for step in steps_of(full)) == ladder_tables(full)


def test_the_table_in_flight_is_that_of_the_ladder_being_measured() -> None:
    record = fold_record(
        recordings.recording(recordings.SMALL, recordings.LARGE, cells=25, end="running", preset="full"), "test"
    )
    step = steps_of(record)[step_in_flight(record)]
    assert step.ladder == recordings.LARGE
    assert step.metric is not None
    assert step.metric.key == "request"
