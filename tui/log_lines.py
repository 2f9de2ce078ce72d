"""Log lines in memory: bounded, filtered as they come, and what a line's severity is. No widget here."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

KEPT_LINES = 20_000
KEPT_COLUMNS = 2_000
"""Characters kept of a line: a flood of long ones must not fill the memory."""
INFO, WARNING, ERROR = 0, 1, 2
SEVERITIES = ("all lines", "warnings and errors", "errors")
NOISE = re.compile(
    r"Unable to register cu\w+ factory|failed call to cuInit|[Cc]ould not find cuda drivers|computation placer already"
    r"|dlopen some GPU libraries|Skipping registering GPU|TF-TRT Warning|oneDNN custom operations are on"
    r"|is deprecated and will be removed|All log messages before absl::InitializeLog"
)
"""What TensorFlow writes as a warning or an error on every machine without a GPU, and at every start. The servers here
compute on the CPU, so that none of it says that something is wrong; as errors they would hide the first real one."""
_ERRORS = re.compile(r"^[EF]\d{4} |\[(?:ERROR|CRITICAL)\]|\bFATAL\b|Traceback \(most|^\w*(?:Error|Exception): ")
_WARNINGS = re.compile(r"^W\d{4} |\[WARNING\]|\bWARN(?:ING)?\b")
_TF_LETTER = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ([IWEF]) ")


def severity(text: str) -> int:
    """``INFO``, ``WARNING`` or ``ERROR``, by TensorFlow's letter, gunicorn's word or the head of a Python traceback."""
    if NOISE.search(text):
        return INFO
    if letter := _TF_LETTER.match(text):
        return {"I": INFO, "W": WARNING}.get(letter[1], ERROR)
    if _ERRORS.search(text):
        return ERROR
    return WARNING if _WARNINGS.search(text) else INFO


class LogLines:
    """The newest lines of one server, and of them those that pass filter and severity.

    Positions count the passing lines since the last change of the filter, so that they stay true while old lines go.
    """

    def __init__(self, limit: int = KEPT_LINES) -> None:
        self._all: deque[str] = deque(maxlen=limit)
        self._passing: deque[str] = deque(maxlen=limit)
        self.end = 0
        """Position behind the newest passing line."""
        self._needle, self._least = "", INFO

    @property
    def begin(self) -> int:
        """Position of the oldest passing line that is kept."""
        return self.end - len(self._passing)

    @property
    def kept(self) -> int:
        """Lines kept, passing or not."""
        return len(self._all)

    def add(self, lines: Iterable[str]) -> None:
        """Take in new lines; control characters become blanks."""
        for text in lines:
            clean = text[:KEPT_COLUMNS]
            if not clean.isprintable():
                clean = "".join(letter if letter.isprintable() else " " for letter in clean)
            self._all.append(clean)
            self._pass(clean)

    def choose(self, needle: str, least: int) -> None:
        """Let pass what holds ``needle``, upper or lower case, and is at least as severe as ``least``."""
        self._needle, self._least = needle.lower(), least
        self._passing.clear()
        self.end = 0
        for text in self._all:
            self._pass(text)

    def between(self, begin: int, end: int) -> list[str]:
        """The passing lines at these positions."""
        first = self.begin
        return [self._passing[n - first] for n in range(max(begin, first), min(end, self.end))]

    def first_error(self) -> int | None:
        """Position of the oldest error among the passing lines."""
        return next((self.begin + n for n, text in enumerate(self._passing) if severity(text) == ERROR), None)

    def _pass(self, text: str) -> None:
        if self._needle and self._needle not in text.lower():
            return
        if self._least and severity(text) < self._least:
            return
        self._passing.append(text)
        self.end += 1
