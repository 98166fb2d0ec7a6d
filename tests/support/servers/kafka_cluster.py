"""What a broker says about its cluster, asked in Kafka's own protocol.

It is the answer of the running broker, not of our configuration, and needs no client library: the same question tells
when a broker is ready and which cluster a given address belongs to.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_METADATA = 3
# The oldest version that Kafka 4 speaks is older; the newest without compact strings is 8.
_VERSION = 4


@dataclass(frozen=True)
class Cluster:
    """A cluster as its metadata describe it."""

    id: str
    ports: frozenset[int]
    """Of the brokers that take part now; one that started and is not admitted yet is missing."""


def describe_cluster(bootstrap: str, *, timeout: float = 5.0) -> Cluster:
    """Ask the first of these comma-separated addresses. Raises ``OSError`` when it does not answer."""
    host, _, port = bootstrap.split(",")[0].strip().rpartition(":")
    # Header: api, version, correlation id, no client id. Body: no topics, make none.
    body = struct.pack(">hhih", _METADATA, _VERSION, 1, -1) + struct.pack(">ib", 0, 0)
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", _exactly(stream.read(4), 4))
            answer = _Answer(_exactly(stream.read(size), size))
    answer.numbers("ii")  # correlation id, throttle time
    ports = []
    for _ in range(answer.numbers("i")[0]):
        answer.numbers("i")  # node id
        answer.text()  # host
        ports.append(answer.numbers("i")[0])
        answer.text()  # rack
    return Cluster(answer.text() or "", frozenset(ports))


class _Answer:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(f">{layout}", self._content, self._at)
        self._at += struct.calcsize(f">{layout}")
        return found

    def text(self) -> str | None:
        (length,) = self.numbers("h")
        if length < 0:
            return None
        found = self._content[self._at : self._at + length].decode()
        self._at += length
        return found


def _exactly(content: bytes, size: int) -> bytes:
    if len(content) < size:
        raise ConnectionError("the broker closed the connection in the middle of its answer")
    return content
