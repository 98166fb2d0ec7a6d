"""The envelope of callbacks against published data, and with whatever else comes in."""

from __future__ import annotations

import base64
import struct

import pytest
from Crypto.Cipher import AES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.vectors import FULL, REFUSED, VECTORS, Vector, vector
from wecom import crypto as crypto_module
from wecom.crypto import CallbackCrypto
from wecom.errors import CallbackError, CallbackRejected

# A machine under load is slow, which is no finding.
IN_ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TOKEN = "QDG6eK"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CORP = "wx5823bf96d3bd56c7"
OTHER_KEY = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"


def seal(plain: bytes) -> bytes:
    """Encrypt a whole plaintext, padding and all, as somebody who has the key and does it wrongly."""
    key = base64.b64decode(KEY + "=")
    return base64.b64encode(AES.new(key, AES.MODE_CBC, key[:16]).encrypt(plain))


def padded(plain: bytes) -> bytes:
    pad = 32 - len(plain) % 32
    return plain + bytes((pad,)) * pad


def inner(message: bytes, receiveid: bytes = CORP.encode(), length: int | None = None) -> bytes:
    return b"r" * 16 + struct.pack(">I", len(message) if length is None else length) + message + receiveid


def test_nothing_of_the_published_data_is_missing() -> None:
    names = {v.name for v in VECTORS}
    assert {f"published-{n}" for n in (1, 2, 3, 4, 5, 12)} | {"c1", "c2", "c3", "c4", "n1", "n2", "n3"} <= names
    assert {"n4", "n5"} <= names
    assert len(FULL) == 9
    assert sorted(v.pad for v in FULL) == [1, 3, 4, 7, 7, 8, 20, 30, 32]


@pytest.mark.parametrize("case", VECTORS, ids=str)
def test_the_signature_is_the_published_one(case: Vector) -> None:
    key = case.encoding_aes_key or KEY
    own = CallbackCrypto(case.token, key, case.receiveid)
    assert own.signature(case.timestamp, case.nonce, case.encrypt) == case.msg_signature
    assert own.signature(case.timestamp, case.nonce, case.encrypt.encode()) == case.msg_signature
    assert own.verify(case.msg_signature, case.timestamp, case.nonce, case.encrypt.encode())


@pytest.mark.parametrize("case", FULL, ids=str)
def test_the_ciphertext_becomes_the_published_plaintext(case: Vector) -> None:
    assert case.crypto().decrypt(case.encrypt.encode()) == case.plaintext.encode()


@pytest.mark.parametrize("case", FULL, ids=str)
def test_the_plaintext_becomes_the_published_ciphertext(case: Vector) -> None:
    assert case.crypto().encrypt(case.plaintext.encode(), bytes.fromhex(case.random_hex)) == case.encrypt


@pytest.mark.parametrize("case", FULL, ids=str)
def test_only_a_block_of_32_reads_them_all(case: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto_module, "BLOCK", 16)
    random16 = bytes.fromhex(case.random_hex)
    if case.pad > 16:
        with pytest.raises(CallbackRejected):
            case.crypto().decrypt(case.encrypt.encode())
        assert case.crypto().encrypt(case.plaintext.encode(), random16) != case.encrypt
    else:
        assert case.crypto().decrypt(case.encrypt.encode()) == case.plaintext.encode()
        assert case.crypto().encrypt(case.plaintext.encode(), random16) == case.encrypt


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_right_signatures_over_wrong_contents_are_refused(case: Vector) -> None:
    own = case.crypto()
    assert own.verify(case.msg_signature, case.timestamp, case.nonce, case.encrypt.encode())
    with pytest.raises(CallbackError) as raised:
        own.decrypt(case.encrypt.encode())
    assert type(raised.value) is CallbackRejected


def test_a_delivery_for_somebody_else_is_refused() -> None:
    case = vector("c4")
    own = case.crypto(receiveid=CORP)
    assert own.verify(case.msg_signature, case.timestamp, case.nonce, case.encrypt.encode())
    with pytest.raises(CallbackRejected):
        own.decrypt(case.encrypt.encode())


def test_another_nonce_is_another_signature() -> None:
    case = vector("published-3")
    assert case.nonce == "437374425"
    assert not case.crypto().verify(case.msg_signature, case.timestamp, "437374424", case.encrypt.encode())


@pytest.mark.parametrize(
    "key", ["", KEY[:42], KEY + "A", KEY + "=", "$" + KEY[1:], KEY[:20] + "$" + KEY[21:], KEY + "\n", KEY[:42] + "é"]
)
def test_a_key_that_can_not_be_one_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match="43") as raised:
        CallbackCrypto(TOKEN, key, CORP)
    assert not key or key not in str(raised.value)


def test_the_two_bits_that_a_key_does_not_use_may_be_set() -> None:
    # 43 characters of Base64 are 258 bits; C and D as the last differ in the unused ones only.
    message = CallbackCrypto(TOKEN, KEY[:42] + "D", CORP).encrypt(b"hello")
    assert CallbackCrypto(TOKEN, KEY, CORP).decrypt(message.encode()) == b"hello"


@pytest.mark.parametrize("pad", range(1, 33))
def test_every_length_of_the_padding_goes_there_and_back(pad: int) -> None:
    own = CallbackCrypto(TOKEN, KEY, CORP)
    message = b"m" * ((32 - pad - 20 - len(CORP)) % 32)
    encrypted = own.encrypt(message)
    plain = AES.new(own._key, AES.MODE_CBC, own._key[:16]).decrypt(base64.b64decode(encrypted))
    assert plain[-1] == pad
    assert len(plain) % 32 == 0
    assert own.decrypt(encrypted.encode()) == message


@pytest.mark.parametrize("pad", range(17, 33))
def test_a_block_of_16_refuses_every_longer_padding(pad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted = CallbackCrypto(TOKEN, KEY, CORP).encrypt(b"m" * ((32 - pad - 20 - len(CORP)) % 32))
    monkeypatch.setattr(crypto_module, "BLOCK", 16)
    with pytest.raises(CallbackRejected, match="padding"):
        CallbackCrypto(TOKEN, KEY, CORP).decrypt(encrypted.encode())


WRONG = {
    "not Base64": b"!" * 64,
    "Base64 with a line break": seal(padded(inner(b"x")))[:40] + b"\n" + seal(padded(inner(b"x")))[40:],
    "Base64 with a blank instead of a plus": b"AAAA AAA" * 8,
    "empty": b"",
    "nothing but filling": b"====",
    "no whole block": base64.b64encode(b"x" * 40),
    "one block": seal(b"x" * 15 + b"\1"),
    "one block of padding only": seal(b"\x10" * 16),
    "padding only": seal(b"\x20" * 32),
    "padding of 0": seal(inner(b"x").ljust(64, b"\0")),
    "padding of 33": seal(inner(b"x" * 25) + b"\x21" * 33),
    "padding not all the same": seal(padded(inner(b"x"))[:-2] + b"\3\2"),
    "shorter than its head": seal(padded(b"r" * 16 + b"\0\0\0")),
    "message longer than what is there": seal(padded(inner(b"x", length=len(CORP) + 2))),
    "message of 4 GiB": seal(padded(inner(b"x", length=2**32 - 1))),
    "no receiveid": seal(padded(inner(b"x", receiveid=b""))),
    "receiveid in other letters": seal(padded(inner(b"x", receiveid=CORP.upper().encode()))),
    "receiveid with more behind it": seal(padded(inner(b"x", receiveid=CORP.encode() + b"\0"))),
    "length one short": seal(padded(inner(b"xy", length=1))),
    "another key": CallbackCrypto(TOKEN, OTHER_KEY, CORP).encrypt(b"x" * 100).encode(),
    "letters of other scripts": "密文".encode(),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_ciphertext_gets_the_same_refusal(case: str) -> None:
    with pytest.raises(CallbackError) as raised:
        CallbackCrypto(TOKEN, KEY, CORP).decrypt(WRONG[case])
    assert type(raised.value) is CallbackRejected
    assert raised.value.__cause__ is None
    assert KEY not in repr(raised.value)
    assert TOKEN not in repr(raised.value)


@pytest.mark.parametrize("text", ["", "x" * 40, "é" * 40, "\ud800", "0" * 10_000])
def test_whatever_stands_in_the_query_is_a_wrong_signature_at_most(text: str) -> None:
    own = CallbackCrypto(TOKEN, KEY, CORP)
    assert not own.verify(text, "1", "2", b"x")
    assert not own.verify("0" * 40, text, "2", b"x")
    assert not own.verify("0" * 40, "1", text, b"x")


def test_a_signature_is_lower_case_hex_of_this_token_only() -> None:
    own = CallbackCrypto(TOKEN, KEY, CORP)
    right = own.signature("1", "2", "abc")
    assert len(right) == 40
    assert own.verify(right, "1", "2", b"abc")
    assert not own.verify(right.upper(), "1", "2", b"abc")
    assert not CallbackCrypto(TOKEN + "x", KEY, CORP).verify(right, "1", "2", b"abc")


def test_two_ciphertexts_of_one_message_differ() -> None:
    own = CallbackCrypto(TOKEN, KEY, CORP)
    assert own.encrypt(b"same") != own.encrypt(b"same")


messages = st.binary(max_size=300)
receiveids = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
heads = st.binary(min_size=16, max_size=16)


@IN_ANY_TIME
@given(message=messages, receiveid=receiveids, head=heads)
def test_any_message_goes_there_and_back(message: bytes, receiveid: str, head: bytes) -> None:
    own = CallbackCrypto(TOKEN, KEY, receiveid)
    encrypted = own.encrypt(message, head).encode()
    assert own.decrypt(encrypted) == message
    if receiveid:
        with pytest.raises(CallbackRejected):
            CallbackCrypto(TOKEN, KEY, receiveid + "x").decrypt(encrypted)


@IN_ANY_TIME
@given(data=st.binary(max_size=300))
def test_no_bytes_make_it_fail_in_another_way(data: bytes) -> None:
    own = CallbackCrypto(TOKEN, KEY, CORP)
    for encrypted in (data, base64.b64encode(data)):
        with pytest.raises(CallbackRejected):
            own.decrypt(encrypted)


@IN_ANY_TIME
@given(message=messages, head=heads, data=st.data())
def test_a_flipped_bit_changes_the_random_bytes_or_is_seen(message: bytes, head: bytes, data: st.DataObject) -> None:
    own = CallbackCrypto(TOKEN, KEY, CORP)
    encrypted = own.encrypt(message, head)
    raw = bytearray(base64.b64decode(encrypted))
    place = data.draw(st.integers(0, len(raw) * 8 - 1), label="bit")
    raw[place // 8] ^= 1 << place % 8
    changed = base64.b64encode(raw)
    # The signature covers every bit of it; the rest is only the second line of defence.
    assert not own.verify(own.signature("1", "2", encrypted), "1", "2", changed)
    block = place // 128
    try:
        result = own.decrypt(changed)
    except CallbackRejected:
        return
    # CBC carries no proof of its own: a flip garbles its block and one bit of the next, never the message's length.
    assert len(result) == len(message)
    if result != message:
        assert block * 16 < 20 + len(message)


ciphertexts = st.one_of(
    st.tuples(messages, heads),
    # Wrong ones in between: refused for their length, padding, msg_len or receiveid.
    st.sampled_from(sorted(WRONG)),
)


@IN_ANY_TIME
@given(st.lists(ciphertexts, min_size=2, max_size=12))
def test_the_kept_decryptor_carries_nothing_from_one_to_the_next(
    deliveries: list[tuple[bytes, bytes] | str],
) -> None:
    kept = CallbackCrypto(TOKEN, KEY, CORP)
    for delivery in deliveries:
        if isinstance(delivery, str):
            with pytest.raises(CallbackRejected):
                kept.decrypt(WRONG[delivery])
        else:
            message, head = delivery
            encrypted = CallbackCrypto(TOKEN, KEY, CORP).encrypt(message, head).encode()
            assert kept.decrypt(encrypted) == message
            assert CallbackCrypto(TOKEN, KEY, CORP).decrypt(encrypted) == message


def test_the_kept_decryptor_reads_all_vectors_in_a_row() -> None:
    cases = [v for v in FULL if v.encoding_aes_key == KEY and v.receiveid == CORP]
    kept = CallbackCrypto(TOKEN, KEY, CORP)
    for case in (*cases, *reversed(cases)) * 20:
        assert kept.decrypt(case.encrypt.encode()) == case.plaintext.encode()
        assert kept.encrypt(case.plaintext.encode(), bytes.fromhex(case.random_hex)) == case.encrypt
