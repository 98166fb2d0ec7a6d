"""From the bytes of a delivery to a typed event in one call, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.vectors import FULL, REFUSED, Vector, sample, vector
from wecom.callback import (
    document_of,
    encrypt_of,
    open_ciphertext,
    open_delivery,
    read_event,
    seal_delivery,
    write_event,
)
from wecom.crypto import CallbackCrypto
from wecom.errors import CallbackError, CallbackMalformed, CallbackRejected, EventUnreadable
from wecom.events.external import ExternalContactChange

CORP = "wx5823bf96d3bd56c7"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
OTHER_KEY = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"
NEW = CallbackCrypto("newtoken", KEY, CORP)
OLD = CallbackCrypto("oldtoken", OTHER_KEY, CORP)


def delivery(crypto: CallbackCrypto, document: bytes = b"") -> tuple[dict[str, str], bytes]:
    return seal_delivery(
        crypto, document or sample("add_external_contact"), timestamp="1403610513", nonce="VHh7ymSeb0jc4lSb", to=CORP
    )


def outer(encrypt: str) -> bytes:
    return f"<xml><ToUserName><![CDATA[x]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>".encode()


def body_of(case: Vector) -> bytes:
    return case.body.encode() or outer(case.encrypt)


@pytest.mark.parametrize("case", [v for v in FULL if not v.query], ids=str)
def test_every_published_delivery_becomes_its_event(case: Vector) -> None:
    event = open_delivery([case.crypto()], case.parameters, body_of(case))
    assert event == read_event(case.plaintext.encode())
    assert event.event


@pytest.mark.parametrize("name", ["published-1", "published-3"])
def test_published_address_checks_become_their_number(name: str) -> None:
    case = vector(name)
    plain = open_ciphertext([case.crypto()], case.msg_signature, case.timestamp, case.nonce, case.encrypt.encode())
    assert plain == case.plaintext.encode()
    assert plain.isdigit()


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_every_published_wrong_delivery_gets_the_same_refusal(case: Vector) -> None:
    with pytest.raises(CallbackError) as raised:
        open_delivery([case.crypto()], case.parameters, body_of(case))
    assert type(raised.value) is CallbackRejected


def test_foreign_receiver_and_foreign_signature_get_it_too() -> None:
    suite, twin = vector("c4"), vector("published-3")
    with pytest.raises(CallbackRejected):
        open_delivery([suite.crypto(receiveid=CORP)], suite.parameters, body_of(suite))
    with pytest.raises(CallbackRejected):
        open_delivery([twin.crypto()], twin.parameters | {"nonce": "437374424"}, body_of(twin))
    with pytest.raises(CallbackRejected):
        open_delivery([], twin.parameters, body_of(twin))


def test_from_bytes_to_the_typed_event_and_back() -> None:
    query, body = delivery(NEW)
    event = open_delivery([NEW], query, body)
    assert isinstance(event, ExternalContactChange)
    assert (event.change, event.object_id) == ("add_external_contact", "woAJ2GCAAAXtWyujaWJHDDGi0mAAAA")
    again = open_delivery([NEW], *delivery(NEW, write_event(event)))
    assert again == event
    assert read_event(document_of(event.leaves)) == event


def test_a_sealed_delivery_looks_like_the_platforms_own() -> None:
    query, body = seal_delivery(NEW, b"<xml/>", timestamp="1", nonce="2", to=CORP, agentid="218")
    assert set(query) == {"msg_signature", "timestamp", "nonce"}
    encrypt = encrypt_of(body).decode()
    assert query["msg_signature"] == NEW.signature("1", "2", encrypt)
    assert (
        body
        == (
            f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt>"
            "<AgentID><![CDATA[218]]></AgentID></xml>"
        ).encode()
    )


ROTATIONS: Mapping[str, CallbackCrypto] = {
    "both changed": OLD,
    "only the key changed": CallbackCrypto("newtoken", OTHER_KEY, CORP),
    "only the token changed": CallbackCrypto("oldtoken", KEY, CORP),
}


@pytest.mark.parametrize("case", ROTATIONS)
def test_two_pairs_are_valid_during_a_rotation(case: str) -> None:
    previous = ROTATIONS[case]
    expected = read_event(sample("add_external_contact"))
    for pairs in ([NEW, previous], [previous, NEW]):
        for sender in (NEW, previous, NEW):
            assert open_delivery(pairs, *delivery(sender)) == expected


def test_a_pair_that_was_given_up_is_refused() -> None:
    with pytest.raises(CallbackRejected):
        open_delivery([NEW], *delivery(OLD))
    with pytest.raises(CallbackRejected, match=r"padding|msg_len|receiveid"):
        open_delivery([NEW], *delivery(CallbackCrypto("newtoken", OTHER_KEY, CORP)))


@pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce"])
def test_a_missing_parameter_is_malformed(name: str) -> None:
    query, body = delivery(NEW)
    del query[name]
    with pytest.raises(CallbackMalformed):
        open_delivery([NEW], query, body)


@pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce"])
@pytest.mark.parametrize("value", ["", "0", "é", "\ud800", "x" * 5000])
def test_a_wrong_parameter_is_a_wrong_signature(name: str, value: str) -> None:
    query, body = delivery(NEW)
    with pytest.raises(CallbackRejected, match="signature"):
        open_delivery([NEW], query | {name: value}, body)


SHAPES = {
    "as documented": b"<xml><ToUserName><![CDATA[c]]></ToUserName><Encrypt><![CDATA[QUJD]]></Encrypt></xml>",
    "the other order": b"<xml><AgentID>1</AgentID><Encrypt><![CDATA[QUJD]]></Encrypt><ToUserName>c</ToUserName></xml>",
    "no section": b"<xml><Encrypt>QUJD</Encrypt></xml>",
    "blanks in the section": b"<xml><Encrypt><![CDATA[ QUJD\n]]></Encrypt></xml>",
    "line breaks": b"<xml>\n  <AgentID/>\n  <Encrypt>\n<![CDATA[QUJD]]>\n</Encrypt>\n</xml>\n",
    "an attribute": b'<xml><Encrypt x="1"><![CDATA[QUJD]]></Encrypt></xml>',
    "a comment": b"<xml><!-- x --><Encrypt>QU<!-- y -->JD</Encrypt></xml>",
    "a longer name beside it": b"<xml><Encrypted>x</Encrypted><Encrypt><![CDATA[QUJD]]></Encrypt></xml>",
    "a byte order mark": b"\xef\xbb\xbf<xml><Encrypt>QUJD</Encrypt></xml>",
    "an empty one beside it": b"<xml><Encrypt/><Encrypt>QUJD</Encrypt></xml>",
}


@pytest.mark.parametrize("case", SHAPES)
def test_the_ciphertext_is_found_in_every_shape(case: str) -> None:
    assert encrypt_of(SHAPES[case]) == b"QUJD"


NO_DELIVERY = {
    "nothing": b"",
    "blank": b" \n",
    "JSON": b'{"tousername": "c", "encrypt": "QUJD", "agentid": "1"}',
    "JSON of a list": b'["QUJD"]',
    "a form": b"Encrypt=QUJD",
    "no XML": b"<xml><Encrypt>QUJD",
    "no Encrypt": b"<xml><ToUserName>c</ToUserName></xml>",
    "in other letters": b"<xml><encrypt>QUJD</encrypt></xml>",
    "empty": b"<xml><Encrypt></Encrypt></xml>",
    "an empty section": b"<xml><Encrypt><![CDATA[]]></Encrypt></xml>",
    "blank inside": b"<xml><Encrypt> \n </Encrypt></xml>",
    "two": b"<xml><Encrypt><![CDATA[QUJD]]></Encrypt><Encrypt><![CDATA[QUJE]]></Encrypt></xml>",
    "two, one without section": b"<xml><Encrypt><![CDATA[QUJD]]></Encrypt><Encrypt>QUJE</Encrypt></xml>",
    "two, one with attribute": b'<xml><Encrypt><![CDATA[QUJD]]></Encrypt><Encrypt a="">QUJE</Encrypt></xml>',
    "deeper": b"<xml><A><Encrypt>QUJD</Encrypt></A></xml>",
    "with children": b"<xml><Encrypt><A>QUJD</A></Encrypt></xml>",
    "UTF-16": "<xml><Encrypt><![CDATA[QUJD]]></Encrypt></xml>".encode("utf-16"),
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("case", NO_DELIVERY)
def test_what_is_no_delivery_is_malformed(case: str) -> None:
    with pytest.raises(CallbackError) as raised:
        encrypt_of(NO_DELIVERY[case])
    assert type(raised.value) is CallbackMalformed
    assert raised.value.__cause__ is None
    with pytest.raises(CallbackMalformed):
        open_delivery([NEW], {"msg_signature": "x", "timestamp": "1", "nonce": "2"}, NO_DELIVERY[case])


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nonsense",
        b'{"Event": "x"}',
        b"<xml/>",
        b"<xml><A>1</A></xml>",
        b"<!DOCTYPE xml><xml><Event>x</Event></xml>",
    ],
)
def test_authentic_nonsense_is_unreadable_and_not_refused(document: bytes) -> None:
    query, body = seal_delivery(NEW, document, timestamp="1", nonce="2")
    with pytest.raises(EventUnreadable):
        open_delivery([NEW], query, body)
