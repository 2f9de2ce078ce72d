"""A wake-up call at an absolute time, exact to some ten microseconds: the event loop's own timers count milliseconds.

Linux: a timerfd on the monotonic clock, which is ``perf_counter``'s. Elsewhere the loop's timer up to the last
milliseconds, then turns of the loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = 0o2004000
_ABSOLUTE = 1
_LAST_NS = 2_000_000
"""How long before its time the portable alarm stops trusting the loop's timer."""


class TimerAlarm:
    """``callback`` runs once at the time last set (Linux). Raises OSError when the kernel gives no timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._loop = loop
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        # struct itimerspec: interval (s, ns), value (s, ns).
        self._spec = (ctypes.c_long * 4)()
        self._callback = callback
        loop.add_reader(self._fd, self._ring)

    def set(self, at_ns: int) -> None:
        """Ring at ``at_ns`` (``perf_counter_ns``), at once when that is past; a time set before is forgotten."""
        self._spec[2], self._spec[3] = divmod(max(at_ns, 1), 1_000_000_000)
        self._settime(self._fd, _ABSOLUTE, self._spec, None)

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _ring(self) -> None:
        self._spec[2] = self._spec[3] = 0
        # Setting it to nothing also takes back the expiry that made it readable.
        self._settime(self._fd, 0, self._spec, None)
        self._callback()


class LoopAlarm:
    """``callback`` runs once at the time last set, with the event loop's means only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._at_ns = 0
        self._handle: asyncio.Handle | None = None

    def set(self, at_ns: int) -> None:
        """Ring at ``at_ns`` (``perf_counter_ns``), at once when that is past; a time set before is forgotten."""
        self.close()
        self._at_ns = at_ns
        self._wait()

    def close(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _wait(self) -> None:
        left = self._at_ns - perf_counter_ns()
        if left <= 0:
            self._handle = None
            self._callback()
        elif left > _LAST_NS:
            self._handle = self._loop.call_later((left - _LAST_NS) / 1e9, self._wait)
        else:
            self._handle = self._loop.call_soon(self._wait)


def alarm(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> TimerAlarm | LoopAlarm:
    """The best alarm that this system has."""
    return TimerAlarm(loop, callback) if sys.platform == "linux" else LoopAlarm(loop, callback)
