"""Request-time histograms in HdrHistogram's V2 compressed encoding, which other tools read as well (R14).

Written here because the package has no wheel for every machine we run on; the tests hold the two against each other.
Our buckets are laid out like HdrHistogram's, so a count's index needs no conversion and nothing is lost.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator

from serving_ctl.stats.latency import BUCKETS, MAX_US

DIGITS = 3
Buckets = tuple[tuple[int, int], ...]
"""(HDR bucket, count) pairs, ascending."""

_HEADER = struct.Struct(">iiiiqqd")
"""Cookie, bytes of counts, index offset, significant digits, lowest and highest value, ratio of integer to double."""
_ENVELOPE = struct.Struct(">ii")
"""Cookie, compressed bytes."""
_COOKIE, _COMPRESSED_COOKIE = 0x1C849313, 0x1C849314


def encode_buckets(buckets: Buckets) -> str:
    """``buckets`` as V2 compressed text (base64); empty for none."""
    if not buckets:
        return ""
    counts = bytearray()
    following = 0
    for index, count in buckets:
        if index > following:
            counts += _varint(following - index)  # that many empty buckets
        counts += _varint(count)
        following = index + 1
    packed = zlib.compress(_HEADER.pack(_COOKIE, len(counts), 0, DIGITS, 1, MAX_US, 1.0) + counts)
    return base64.b64encode(_ENVELOPE.pack(_COMPRESSED_COOKIE, len(packed)) + packed).decode("ascii")


def decode_buckets(text: str) -> Buckets:
    """The buckets of ``encode_buckets``' text. Raises ValueError for text that is no such histogram."""
    if not text:
        return ()
    try:
        content = base64.b64decode(text, validate=True)
        cookie, length = _ENVELOPE.unpack_from(content)
        packed = content[_ENVELOPE.size :]
        if cookie != _COMPRESSED_COOKIE or length != len(packed):
            raise ValueError("not a histogram: its envelope is not V2's")
        unpacked = zlib.decompress(packed)
        inner, size, _, digits, lowest, _, _ = _HEADER.unpack_from(unpacked)
    except (struct.error, zlib.error) as error:
        raise ValueError(f"not a histogram: {error}") from None
    counts = unpacked[_HEADER.size :]
    if (inner, size, digits, lowest) != (_COOKIE, len(counts), DIGITS, 1):
        raise ValueError("not a histogram: its header is not of one of ours")
    return tuple(_pairs(counts))


def _pairs(counts: bytes) -> Iterator[tuple[int, int]]:
    index = 0
    for value in _integers(counts):
        if value < 0:
            index -= value
            continue
        if index >= BUCKETS:
            raise ValueError("not a histogram: it has more buckets than the layout")
        if value:
            yield index, value
        index += 1


def _varint(value: int) -> bytes:
    """ZigZag LEB128: the sign in the lowest bit, then seven bits a byte, the smallest first."""
    rest = (value << 1) ^ (value >> 63)
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def _integers(content: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in content:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield (value >> 1) ^ -(value & 1)
            value = shift = 0
    if shift:
        raise ValueError("not a histogram: it ends in the middle of a number")
