"""Carry connections from one place to another, from a program of its own: `forward.py tcp:PORT unix:PATH`.

A path leads into a private network namespace where no port does.
"""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path


def connect(place: str) -> socket.socket:
    kind, _, where = place.partition(":")
    if kind == "tcp":
        return socket.create_connection(("127.0.0.1", int(where)))
    one = socket.socket(socket.AF_UNIX)
    one.connect(where)
    return one


def listen(place: str) -> socket.socket:
    kind, _, where = place.partition(":")
    if kind == "tcp":
        return socket.create_server(("127.0.0.1", int(where)))
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"{where}.new")
    one.listen()
    Path(f"{where}.new").rename(where)
    return one


def carry(source: socket.socket, to: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)
    except OSError:  # one of the two has hung up
        for one in (source, to):
            one.close()


def main(here: str, there: str) -> None:
    with listen(here) as door:
        while True:
            inner, _ = door.accept()
            try:
                outer = connect(there)
            except OSError:
                inner.close()
                continue
            for pair in ((inner, outer), (outer, inner)):
                threading.Thread(target=carry, args=pair, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
