"""The V2 encoding: what goes in comes out, the package reads ours and we read the package's, bad text is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.results.histograms import decode_buckets, encode_buckets
from serving_ctl.stats.latency import BUCKETS, MAX_US, count

COUNTS = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 10**12), max_size=60)


@given(COUNTS)
def test_nothing_is_lost(counts):
    buckets = tuple(sorted(counts.items()))
    assert decode_buckets(encode_buckets(buckets)) == buckets


@pytest.fixture(scope="module")
def package():
    """Absent on Linux arm64 alone, for which it has no wheel."""
    return pytest.importorskip("hdrh.histogram", reason="hdrhistogram has no wheel for this processor").HdrHistogram


def test_the_package_reads_ours(package):
    times = [1, 2, 3, 1023, 1024, 2047, 2048, 5000, 5001, 10**6, MAX_US] * 3
    counts = count([float(t) for t in times])
    read = package.decode(encode_buckets(tuple(zip(counts.index, counts.count, strict=True))))
    assert read.get_total_count() == len(times)
    for time in times:
        assert read.get_count_at_value(time) >= 3
    assert read.get_max_value() == pytest.approx(MAX_US, rel=1e-3)


def test_we_read_the_package_s(package):
    histogram = package(1, MAX_US, 3)
    times = [1, 7, 900, 2049, 33_333, 33_334, 9_999_999] * 2
    for time in times:
        histogram.record_value(time)
    counts = count([float(t) for t in times])
    assert decode_buckets(histogram.encode().decode()) == tuple(zip(counts.index, counts.count, strict=True))


GOOD = encode_buckets(((5, 3), (900, 1)))


@pytest.mark.parametrize("text", ["x", "zzzz", "AAAA", GOOD[:-8], "A" + GOOD[1:], GOOD + "AAAA", "ÄÖ", " " + GOOD])
def test_what_is_no_histogram_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        decode_buckets(text)


def test_no_requests_are_no_text():
    assert encode_buckets(()) == ""
    assert decode_buckets("") == ()
