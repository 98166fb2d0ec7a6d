"""The callbacks in ``tests/samples``: signed and encrypted ones, and inner documents as the platform sends them.

``vectors.toml`` says of each entry who published it. ``events/`` has one decrypted document per case, in the shapes
that documents 92130, 90970 to 90972 and 92277 show and that people reported: with and without line breaks and CDATA,
elements in either order, missing, or present and empty. Ids, names and numbers are sample values; nobody is behind
them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from wecom.crypto import CallbackCrypto

SAMPLES = Path(__file__).parent.parent / "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One callback. What a vector does not have is empty; ``random_hex`` are the 16 bytes in front of the plaintext."""

    name: str
    origin: str
    token: str
    timestamp: str
    nonce: str
    msg_signature: str
    encrypt: str
    encoding_aes_key: str = ""
    receiveid: str = ""
    pad: int = 0
    random_hex: str = ""
    refused: bool = False
    query: str = ""
    body: str = ""
    plaintext: str = ""

    def crypto(self, receiveid: str | None = None) -> CallbackCrypto:
        """A crypto of its own for each use, so that no state is shared."""
        return CallbackCrypto(self.token, self.encoding_aes_key, self.receiveid if receiveid is None else receiveid)

    @property
    def parameters(self) -> dict[str, str]:
        """The query of its delivery."""
        return {"msg_signature": self.msg_signature, "timestamp": self.timestamp, "nonce": self.nonce}

    def __str__(self) -> str:
        return self.name


def _read() -> tuple[Vector, ...]:
    with (SAMPLES / "vectors.toml").open("rb") as file:
        return tuple(Vector(**entry) for entry in tomllib.load(file)["vector"])


VECTORS = _read()
FULL = tuple(vector for vector in VECTORS if vector.plaintext)
"""Those that can be decrypted and encrypted."""
REFUSED = tuple(vector for vector in VECTORS if vector.refused)
"""Those with a right signature that must be refused."""


def vector(name: str) -> Vector:
    """The vector of that name."""
    return next(vector for vector in VECTORS if vector.name == name)


def sample(name: str) -> bytes:
    """The inner document ``events/<name>.xml``."""
    return (SAMPLES / "events" / f"{name}.xml").read_bytes()
