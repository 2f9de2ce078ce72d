"""What a server used in a cell: the difference of two readings, the most memory in between, blanks where unknown."""

from __future__ import annotations

import asyncio

import pytest

from serving_ctl.bench import usage
from serving_ctl.bench.usage import UsageMeter


def meter_of(*readings) -> tuple[UsageMeter, list]:
    left = list(readings)

    async def read():
        return left.pop(0) if len(left) > 1 else left[0]

    return UsageMeter(read), left


def used(*readings):
    async def cell():
        meter, _ = meter_of(*readings)
        await meter.start()
        return await meter.stop()

    return asyncio.run(cell())


def test_cpu_since_the_start_and_the_larger_memory():
    assert used((10.0, 300.0), (12.5, 280.0)) == (2.5, 300.0)


@pytest.mark.parametrize("readings", [[None], [(1.0, 1.0), None], [(5.0, 300.0), (4.0, 200.0)]])
def test_what_cannot_be_known_is_blank(readings):
    """No process to see, a process that vanished, a worker that took its CPU time with it."""
    assert used(*readings) is None


def test_samples_in_between_find_the_peak(monkeypatch):
    monkeypatch.setattr(usage, "SAMPLE_S", 0.0)

    async def cell():
        meter, left = meter_of((0.0, 100.0), (1.0, 900.0), (2.0, 200.0))
        await meter.start()
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(left) == 1
        return await meter.stop()

    assert asyncio.run(cell()) == (2.0, 900.0)


def test_what_cannot_be_seen_yet_is_looked_for_again(monkeypatch):
    monkeypatch.setattr(usage, "SAMPLE_S", 0.0)

    async def cell():
        meter, left = meter_of(None, None, (1.0, 100.0))
        await meter.start()
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(left) == 1
        return await meter.stop()

    assert asyncio.run(cell()) is None


def test_a_second_start_forgets_the_first():
    async def cell():
        meter, _ = meter_of((0.0, 900.0), (5.0, 100.0), (6.0, 110.0))
        await meter.start()
        await meter.start()
        return await meter.stop()

    assert asyncio.run(cell()) == (1.0, 110.0)


def test_cancelled_without_a_start():
    async def cell():
        meter, _ = meter_of(None)
        await meter.cancel()
        return await meter.stop()

    assert asyncio.run(cell()) is None
