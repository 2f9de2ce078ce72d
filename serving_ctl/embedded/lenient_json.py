"""Request bodies as JSON, with the leniencies and the error texts of RapidJSON, which the real server uses.

``parse`` tries orjson first. What orjson refuses and RapidJSON takes (NaN and Infinity, bytes after the value, bytes
that are not UTF-8, deep nesting) goes to the standard library's scanner, and what that refuses to ``_Reader``, a reader
without recursion that knows RapidJSON's errors and their offsets. Strings with foreign bytes carry them as
``surrogateescape``. Of duplicate keys the first counts.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from serving_ctl.embedded.status import StatusError, invalid

_TOP_KEYS = tuple(f'"{key}"'.encode() for key in ("signature_name", "instances", "inputs", "examples", "context"))
_LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \t\n\r]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.[0-9]+")
_EXPONENT = re.compile(rb"[eE][+-]?[0-9]+")
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = {
    ord('"'): b'"', ord("\\"): b"\\", ord("/"): b"/", ord("b"): b"\b", ord("f"): b"\f", ord("n"): b"\n",
    ord("r"): b"\r", ord("t"): b"\t",
}  # fmt: skip
_WORDS: dict[int, tuple[bytes, Any]] = {
    ord("n"): (b"null", None),
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
}
_UNSIGNED_MAX = (1 << 64) - 1
_SIGNED_MIN = -(1 << 63)


def parse(body: bytes) -> Any:
    """The JSON value that ``body`` begins with; StatusError with RapidJSON's text and offset if there is none."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        value = orjson.loads(body)
    except ValueError:
        return _parse_leniently(body)
    if any(body.count(key) > 1 for key in _TOP_KEYS):
        return _parse_leniently(body)
    return value


def _parse_leniently(body: bytes) -> Any:
    body = body.removeprefix(_BOM)
    if not _LONE_SURROGATE.search(body):
        text = body.decode("utf-8", "surrogateescape")
        try:
            return _DECODER.raw_decode(text, len(text) - len(text.lstrip(" \t\n\r")))[0]
        except (ValueError, RecursionError):
            return _Reader(body).read()
    return _Reader(body).read()


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members.setdefault(key, value)
    return members


def _double(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too big for a double")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins, parse_float=_double)


class _Reader:
    """RapidJSON's grammar with an explicit stack; ``read`` returns the first value or raises at the exact offset."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self) -> Any:
        """The first value; open arrays and objects wait on a stack, so depth costs memory and never recursion."""
        self._skip_space()
        if self._at >= len(self._data):
            raise self._error("The document is empty.", self._at)
        stack: list[tuple[Any, str | None]] = []
        while True:
            container = self._open()
            if container is not None:
                stack.append((container, self._key() if type(container) is dict else None))
                continue
            value = self._value
            while stack:
                container, key = stack.pop()
                if self._add(container, key, value):
                    stack.append((container, self._key() if type(container) is dict else None))
                    break
                value = container
            else:
                return value

    def _open(self) -> Any:
        """Begin the value here: a non-empty array or object is returned, anything else is complete in ``_value``."""
        byte = self._peek()
        if byte == ord("["):
            return self._begin([], b"]")
        if byte == ord("{"):
            return self._begin({}, b"}")
        self._value = self._scalar(byte)
        return None

    def _begin(self, container: Any, close: bytes) -> Any:
        self._at += 1
        self._skip_space()
        if not self._take(close):
            return container
        self._value = container
        return None

    def _add(self, container: Any, key: str | None, value: Any) -> bool:
        """Put ``value`` into ``container``; True if another one follows, False if it closes here."""
        self._skip_space()
        if type(container) is dict:
            container.setdefault(key, value)
            close, message = b"}", "Missing a comma or } after an object member."
        else:
            container.append(value)
            close, message = b"]", "Missing a comma or ] after an array element."
        if self._take(b","):
            self._skip_space()
            return True
        if self._take(close):
            return False
        raise self._error(message, self._at)

    def _key(self) -> str:
        if self._peek() != ord('"'):
            raise self._error("Missing a name for object member.", self._at)
        key = self._string()
        self._skip_space()
        if not self._take(b":"):
            raise self._error("Missing a colon after a name of object member.", self._at)
        self._skip_space()
        return key

    def _scalar(self, byte: int) -> Any:
        if byte == ord('"'):
            return self._string()
        if byte in _WORDS:
            word, value = _WORDS[byte]
            self._word(word)
            return value
        return self._number()

    def _word(self, word: bytes) -> None:
        for letter in word:
            if self._peek() != letter:
                raise self._error("Invalid value.", self._at)
            self._at += 1

    def _number(self) -> int | float:
        start = self._at
        match = _NUMBER.match(self._data, start)
        if match is None:
            return self._not_finite()
        self._at = match.end()
        whole = not any([
            self._part(b".", _FRACTION, "Miss fraction part in number."),
            self._part(b"eE", _EXPONENT, "Miss exponent in number."),
        ])  # fmt: skip
        text = self._data[start : self._at]
        if whole and len(text) < 21 and _SIGNED_MIN <= int(text) <= _UNSIGNED_MAX:
            return int(text)
        number = float(text)
        if math.isinf(number):
            raise self._error("Number too big to be stored in double.", start)
        return number

    def _part(self, begins: bytes, pattern: re.Pattern[bytes], message: str) -> bool:
        if self._peek() not in tuple(begins):
            return False
        match = pattern.match(self._data, self._at)
        if match is None:
            signed = self._data[self._at + 1 : self._at + 2] in (b"+", b"-") and begins != b"."
            raise self._error(message, self._at + (2 if signed else 1))
        self._at = match.end()
        return True

    def _not_finite(self) -> float:
        sign = -1.0 if self._take(b"-") else 1.0
        if self._peek() == ord("N"):
            self._word(b"NaN")
            return math.nan
        self._word(b"Inf")
        if self._peek() == ord("i"):
            self._word(b"inity")
        return sign * math.inf

    def _string(self) -> str:
        self._at += 1
        parts: list[bytes] = []
        while True:
            match = _PLAIN.match(self._data, self._at)
            assert match is not None
            parts.append(match[0])
            self._at = match.end()
            byte = self._peek()
            if byte == ord('"'):
                self._at += 1
                return b"".join(parts).decode("utf-8", "surrogateescape")
            if byte != ord("\\"):
                ended = byte in (-1, 0)
                message = "Missing a closing quotation mark in string." if ended else "Invalid encoding in string."
                raise self._error(message, self._at)
            parts.append(self._escape())

    def _escape(self) -> bytes:
        start = self._at
        self._at += 1
        letter = self._peek()
        self._at += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != ord("u"):
            raise self._error("Invalid escape character in string.", start)
        code = self._hex(start)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code).encode()
        low = self._hex(start) if code <= 0xDBFF and self._take(b"\\u") else 0
        if not 0xDC00 <= low <= 0xDFFF:
            raise self._error("The surrogate pair in string is invalid.", start)
        return chr(0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF)).encode()

    def _hex(self, start: int) -> int:
        match = _HEX.match(self._data, self._at)
        if match is None:
            raise self._error("Incorrect hex digit after \\u escape in string.", start)
        self._at = match.end()
        return int(match[0], 16)

    def _peek(self) -> int:
        return self._data[self._at] if self._at < len(self._data) else -1

    def _take(self, token: bytes) -> bool:
        taken = self._data.startswith(token, self._at)
        self._at += len(token) if taken else 0
        return taken

    def _skip_space(self) -> None:
        match = _SPACE.match(self._data, self._at)
        assert match is not None
        self._at = match.end()

    @staticmethod
    def _error(message: str, offset: int) -> StatusError:
        return invalid(f"JSON Parse error: {message} at offset: {offset}")
