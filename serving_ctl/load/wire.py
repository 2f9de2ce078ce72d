"""What goes out: a URL taken apart, bodies read from a file, and each distinct request's bytes assembled once (R4).

HTTP/1.1. What comes back is read in ``answer``.
"""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from serving_ctl.errors import LoadError

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


class Target(msgspec.Struct, frozen=True):
    """Where a URL points: ``path`` holds the query too, ``authority`` is the Host header's text."""

    host: str
    port: int
    path: str
    authority: str
    tls: bool = False


def parse_url(url: str) -> Target:
    """Take an ``http://`` or ``https://`` URL apart. Raises LoadError saying what is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LoadError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise LoadError(f"{url!r}: the load engine speaks HTTP; start the URL with http:// or https://")
    if not parts.hostname:
        raise LoadError(f"{url!r} names no host; write http://HOST:PORT/PATH")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or _UNSAFE.search(path):
        raise LoadError(f"{url!r}: spaces and non-ASCII characters in a path must be percent-encoded")
    tls = parts.scheme == "https"
    return Target(parts.hostname, port or (443 if tls else 80), path, parts.netloc.rpartition("@")[2], tls)


def resolve(target: Target) -> str:
    """The numeric address of the target's host, IPv4 first (``localhost`` servers often listen there only).

    Raises LoadError when the name is unknown.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LoadError(f"host {target.host!r} not found: {error}; check the URL") from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])


def read_bodies(path: str | None) -> list[bytes]:
    """The request bodies of a JSON-lines file, one a line, blank lines skipped; ``[b""]`` when there is no file.

    A file that is one JSON document spread over several lines is one body.
    Raises LoadError when the file cannot be read or holds no body.
    """
    if path is None:
        return [b""]
    try:
        whole = Path(path).read_bytes()
    except OSError as error:
        raise LoadError(f"body file {path}: {error.strerror or error}; give a readable file") from error
    bodies = [line.rstrip(b"\r") for line in whole.split(b"\n") if line.strip()]
    if len(bodies) > 1 and not _is_json(bodies[0]) and _is_json(whole):
        return [whole]
    if not bodies:
        raise LoadError(f"body file {path} holds no body; write one request body a line")
    return bodies


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def compress(bodies: list[bytes]) -> list[bytes]:
    """The bodies in gzip format, the same bytes for the same body every time."""
    return [gzip.compress(body, mtime=0) for body in bodies]


def assemble(target: Target, method: str, headers: Iterable[tuple[str, str]], bodies: list[bytes]) -> list[bytes]:
    """Each body's full request, head and body in one piece. Raises LoadError for a header that would break it."""
    if not _TOKEN.fullmatch(method):
        raise LoadError(f"{method!r} is not an HTTP method")
    lines = [f"{method} {target.path} HTTP/1.1"]
    given = {name.lower() for name, _ in headers}
    if "host" not in given:
        lines.append(f"Host: {target.authority}")
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
            raise LoadError(f"header {name!r}: {value!r} cannot be sent; write NAME: VALUE on one line")
        if name.lower() not in ("content-length", "transfer-encoding"):
            lines.append(f"{name}: {value}")
    if "content-type" not in given and any(bodies):
        lines.append("Content-Type: application/json")
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    return [_whole(head, method, body) for body in bodies]


def _whole(head: bytes, method: str, body: bytes) -> bytes:
    if not body and method in ("GET", "HEAD", "DELETE", "OPTIONS"):
        return head + b"\r\n\r\n"
    return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
