"""Bytes carried between a listening port and another socket: an engine behind ``tcp://``, and the ``ssh`` of the tests.

A program: as ``ssh`` it takes the arguments that we give the real one, and the machine it "reaches" is this one.
"""

import contextlib
import os
import re
import socket
import sys
import threading


def listen(near):
    """A listener at ``host:port``, or at a Unix socket."""
    if not near.startswith("/"):
        host, port = near.split(":")
        return socket.create_server((host, int(port)))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(near)
    listener.listen()
    return listener


def connect(target):
    """A connection to ``host:port``, or to a Unix socket."""
    if not target.startswith("/"):
        host, port = target.split(":")
        return socket.create_connection((host, int(port)))
    far = socket.socket(socket.AF_UNIX)
    far.connect(target)
    return far


def forward(listener, target):
    """Carry every connection to ``listener`` to a new one to ``target``."""
    while True:
        near, _ = listener.accept()
        far = connect(target)
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=carry, args=(one, other), daemon=True).start()


def carry(one, other):
    with contextlib.suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def main(words):
    """What the tests need of ``ssh``: forwarding, and without ``-N`` the end when stdin ends, as ``cat`` over there."""
    if "nobody@engine.test" in words:
        sys.exit("nobody@engine.test: Permission denied (publickey).")
    near, target = re.fullmatch(r"(/[^:]+|[^:]+:[^:]+):(.+)", words[words.index("-L") + 1]).groups()
    if "-N" not in words:
        threading.Thread(target=lambda: os._exit(sys.stdin.buffer.read() != b""), daemon=True).start()
    with listen(near) as listener:
        forward(listener, target)


if __name__ == "__main__":
    main(sys.argv[1:])
