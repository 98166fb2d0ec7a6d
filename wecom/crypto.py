"""The envelope of callbacks: signature and encryption (document 90968).

plaintext = 16 random bytes + length of the message (4 bytes, network order) + message + receiveid, padded to a multiple
of 32 (a full 32 when it already is one), AES-256-CBC with the key's first 16 bytes as IV, Base64.
signature = SHA-1 over token, timestamp, nonce and ciphertext, sorted and joined.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import struct

from Crypto.Cipher import AES

from wecom.errors import CallbackRejected

BLOCK = 32
"""The platform pads to 32, not to AES's own 16: an unpadder for 16 refuses half of all deliveries."""

_KEY = re.compile(r"[A-Za-z0-9+/]{43}")
_LENGTH = struct.Struct(">I")
_HEAD = 20


class CallbackCrypto:
    """One callback configuration's Token and EncodingAESKey. For one thread."""

    def __init__(self, token: str, encoding_aes_key: str, receiveid: str) -> None:
        """``receiveid`` is the corpid for apps of the corp itself. Raises ``ValueError`` for an unusable key."""
        if not _KEY.fullmatch(encoding_aes_key):
            raise ValueError("EncodingAESKey must be 43 letters and digits, as the admin console shows it")
        self._token = token.encode()
        self._key = base64.b64decode(encoding_aes_key + "=")
        self._receiveid = receiveid.encode()
        # Kept for all deliveries, which a third of the decryption's time goes into otherwise. The chain goes on from
        # the last ciphertext, so the next one's first block comes out wrong: those are the 16 random bytes, which
        # nobody looks at.
        self._decryptor = AES.new(self._key, AES.MODE_CBC, self._key[:16])

    def signature(self, timestamp: str, nonce: str, encrypt: str | bytes) -> str:
        """The 40 hex digits that ``msg_signature`` must be."""
        text = _bytes(encrypt) if isinstance(encrypt, str) else encrypt
        joined = b"".join(sorted((self._token, _bytes(timestamp), _bytes(nonce), text)))
        return hashlib.sha1(joined, usedforsecurity=False).hexdigest()

    def verify(self, signature: str, timestamp: str, nonce: str, encrypt: bytes) -> bool:
        """Whether the signature is right, in time that tells nothing about where it is wrong."""
        expected = self.signature(timestamp, nonce, encrypt)
        return hmac.compare_digest(expected.encode(), _bytes(signature))

    def decrypt(self, encrypt: bytes) -> bytes:
        """The message of a ciphertext whose signature was verified. Raises ``CallbackRejected``."""
        try:
            data = base64.b64decode(encrypt, validate=True)
        except (binascii.Error, ValueError):
            raise CallbackRejected("base64") from None
        if not data or len(data) % AES.block_size:
            raise CallbackRejected("length")
        plain = self._decryptor.decrypt(data)
        pad = plain[-1]
        if not 1 <= pad <= BLOCK or not plain.endswith(bytes((pad,)) * pad):
            raise CallbackRejected("padding")
        end = len(plain) - pad
        if end < _HEAD:
            raise CallbackRejected("msg_len")
        (length,) = _LENGTH.unpack_from(plain, 16)
        if _HEAD + length > end:
            raise CallbackRejected("msg_len")
        if not hmac.compare_digest(plain[_HEAD + length : end], self._receiveid):
            raise CallbackRejected("receiveid")
        return plain[_HEAD : _HEAD + length]

    def encrypt(self, plaintext: bytes, random16: bytes | None = None) -> str:
        """The reverse of ``decrypt``; ``random16`` is given by tests that compare with published ciphertexts."""
        head = secrets.token_bytes(16) if random16 is None else random16
        plain = head + _LENGTH.pack(len(plaintext)) + plaintext + self._receiveid
        pad = BLOCK - len(plain) % BLOCK
        cipher = AES.new(self._key, AES.MODE_CBC, self._key[:16])
        return base64.b64encode(cipher.encrypt(plain + bytes((pad,)) * pad)).decode()


def _bytes(text: str) -> bytes:
    # Whatever a query string may hold: half of a surrogate pair is a wrong signature, not an error of its own.
    return text.encode("utf-8", "surrogatepass")
