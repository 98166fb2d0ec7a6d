"""From the bytes of a delivery to a typed event, and the reverse (documents 90930, 90968).

``open_delivery`` is the whole way. Ingest walks its first half only (``encrypt_of``, the crypto) and stores the inner
document as it came; whoever reads it later calls ``read_event``.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping

from wecom.crypto import CallbackCrypto
from wecom.errors import CallbackMalformed, CallbackRejected, EventUnreadable
from wecom.events.base import Event, Leaves, Parse, head
from wecom.events.chat import parse_external_chat
from wecom.events.contact import parse_contact
from wecom.events.external import parse_external_contact
from wecom.events.tags import parse_external_tag
from wecom.xml import XmlRefused, leaves, parse, write

_FAMILIES: Mapping[str, Parse] = {
    "change_external_contact": parse_external_contact,
    "change_external_chat": parse_external_chat,
    "change_external_tag": parse_external_tag,
    "change_contact": parse_contact,
}

# The shape that the platform sends. What is found here is covered by the signature, so taking it without parsing the
# document can't be made use of; any other shape goes through the parser.
_OTHERS = rb"(?:<(?:ToUserName|AgentID)><!\[CDATA\[[^\]<\0]*\]\]></(?:ToUserName|AgentID)>\s*)*"
_DELIVERY = re.compile(
    rb"<xml>\s*" + _OTHERS + rb"<Encrypt><!\[CDATA\[([^\]]+)\]\]></Encrypt>\s*" + _OTHERS + rb"</xml>\s*"
)
_BASE64 = string.ascii_letters.encode() + string.digits.encode() + b"+/="


def encrypt_of(body: bytes) -> bytes:
    """The ciphertext in the outer document. Raises ``CallbackMalformed``."""
    if (found := _DELIVERY.fullmatch(body)) and not found[1].translate(None, _BASE64):
        return found[1]
    try:
        texts = [text for path, text in leaves(parse(body)) if path == "Encrypt" and text]
    except XmlRefused as error:
        raise CallbackMalformed(error.reason) from None
    if len(texts) != 1:
        raise CallbackMalformed("not one Encrypt")
    return texts[0].encode()


def read_event(document: bytes) -> Event:
    """The event in a decrypted document. Raises ``EventUnreadable`` if it is none; an unknown event is none of that."""
    try:
        root = parse(document)
        found = tuple(leaves(root))
    except XmlRefused as error:
        raise EventUnreadable(error.reason) from None
    texts: dict[str, str] = {}
    for path, text in found:
        texts.setdefault(path, text)
    event, change, create_time = head(texts)
    if not event:
        raise EventUnreadable("no Event")
    family = _FAMILIES.get(event)
    if family is not None:
        return family(texts, found)
    return Event(event=event, change=change, create_time=create_time, leaves=found)


def document_of(pairs: Leaves) -> bytes:
    """The inner document with these leaves."""
    return write(pairs)


def write_event(event: Event) -> bytes:
    """The inner document of an event: its leaves."""
    return write(event.leaves)


def open_delivery(cryptos: Iterable[CallbackCrypto], query: Mapping[str, str], body: bytes) -> Event:
    """Verify, decrypt and read a delivery; ``cryptos`` are the pairs that may be valid (two during a rotation).

    Raises ``CallbackMalformed``, ``CallbackRejected`` or ``EventUnreadable``.
    """
    try:
        signature, timestamp, nonce = (query[name] for name in ("msg_signature", "timestamp", "nonce"))
    except KeyError:
        raise CallbackMalformed("parameter missing") from None
    return read_event(open_ciphertext(cryptos, signature, timestamp, nonce, encrypt_of(body)))


def open_ciphertext(
    cryptos: Iterable[CallbackCrypto], signature: str, timestamp: str, nonce: str, encrypt: bytes
) -> bytes:
    """Decrypt with the first pair that fits. Raises ``CallbackRejected``, the same for every reason."""
    reason = "signature"
    for crypto in cryptos:
        if crypto.verify(signature, timestamp, nonce, encrypt):
            try:
                return crypto.decrypt(encrypt)
            except CallbackRejected as error:
                # The key is not part of the signature: another pair with the same Token may still fit.
                reason = error.reason
    raise CallbackRejected(reason)


def seal_delivery(
    crypto: CallbackCrypto, document: bytes, *, timestamp: str, nonce: str, to: str = "", agentid: str = ""
) -> tuple[dict[str, str], bytes]:
    """A delivery as the platform makes it: query parameters and body."""
    encrypt = crypto.encrypt(document)
    query = {"msg_signature": crypto.signature(timestamp, nonce, encrypt), "timestamp": timestamp, "nonce": nonce}
    return query, write([("ToUserName", to), ("Encrypt", encrypt), ("AgentID", agentid)])
