"""Numbers as text: the one place where a face gets its digits from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0.00"),
        (0.042, "0.0420"),
        (0.00131, "0.00131"),
        (0.5, "0.500"),
        (0.99949, "0.999"),
        (0.9996, "1.00"),
        (1.934, "1.93"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (46.06, "46.1"),
        (99.94, "99.9"),
        (99.96, "100"),
        (1234.4, "1,234"),
        (1_234_567, "1,234,567"),
    ],
)
def test_significant(value, text):
    assert formatting.significant(value) == text


@given(st.floats(min_value=1e-6, max_value=1e7))
def test_significant_keeps_three_digits(value):
    shown = float(formatting.significant(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_dash(value):
    assert formatting.significant(value) == "–"
    assert "nan" not in formatting.ratio(value)
    assert "inf" not in formatting.interval(value, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.42, "0.42"), (1.0, "1.00"), (0.996, "1.00"), (12.3, "12.30")],
)
def test_ratio(value, text):
    assert formatting.ratio(value) == text


@pytest.mark.parametrize("value", [0.0994, 0.0421, 0.0042])
def test_ratio_of_far_apart_servers_is_not_zero(value):
    text = formatting.ratio(value)
    if text.startswith("<"):
        assert value < float(text[1:])
    else:
        assert float(text) == pytest.approx(value, rel=0.051)


def test_interval():
    assert formatting.interval(0.4, 0.44) == "0.40 – 0.44"
    assert formatting.interval(None, 0.44) == "–"
    assert formatting.interval(0.4, None) == "–"


def test_interval_of_two_noisy_rounds_stays_short():
    """Two rounds with ratios 0.5 and 10 give limits near 1e-9 and 1e9: no column holds those written out."""
    assert len(formatting.interval(1.2e-8, 4.1e8)) <= 16


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (10_000, "10,000")])
def test_count(value, text):
    assert formatting.count(value) == text


def test_percent():
    assert formatting.percent(82.6) == "83 %"


@pytest.mark.parametrize(("megabytes", "text"), [(312.4, "312 MB"), (2000, "2.0 GB"), (8590, "8.6 GB")])
def test_memory(megabytes, text):
    assert formatting.memory(megabytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.6, "1m00s"),
        (192, "3m12s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
    ],
)
def test_duration(seconds, text):
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 rounds"), (1, "1 round"), (4, "4 rounds"), (1000, "1,000 rounds")])
def test_plural(number, text):
    assert formatting.plural(number, "round") == text
