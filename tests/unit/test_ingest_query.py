"""The query of a callback: taken literally, once, or not at all."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.query import read_query, signed
from wecom.errors import CallbackMalformed

NAMES = ("msg_signature", "timestamp", "nonce", "echostr")
LONGEST = {"msg_signature": 128, "timestamp": 32, "nonce": 128, "echostr": 4096}
# Whatever a request line can hold after the question mark, bytes beyond ASCII as aiohttp gives them.
RAW = st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape"))
PIECES = st.lists(st.one_of(st.sampled_from([*NAMES, "=", "&", "%", "%2B", "%zz", "+", "a"]), RAW), max_size=12)


def reason(raw: str) -> str:
    with pytest.raises(CallbackMalformed) as raised:
        signed(read_query(raw))
    return raised.value.reason


@given(PIECES.map("".join))
def test_a_query_is_read_or_malformed_and_nothing_else(raw: str) -> None:
    try:
        found = read_query(raw)
        signed(found)
    except CallbackMalformed:
        return
    assert set(found) <= set(NAMES)
    assert all(0 < len(value) <= LONGEST[name] for name, value in found.items())


@given(st.dictionaries(st.sampled_from(NAMES), st.text(min_size=1, max_size=32), min_size=1))
def test_what_is_encoded_once_comes_back(query: dict[str, str]) -> None:
    raw = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    expected = {name: value.replace(" ", "+") if name == "echostr" else value for name, value in query.items()}
    assert read_query(raw) == expected


@pytest.mark.parametrize("plus", ["+", "%2B", "%2b", "%20"])
def test_a_plus_in_the_echo_is_a_plus_however_it_came(plus: str) -> None:
    assert read_query(f"echostr=a{plus}b%3D%3D")["echostr"] == "a+b=="


def test_a_plus_elsewhere_is_left_alone() -> None:
    assert read_query("nonce=a+b&timestamp=1%2B1") == {"nonce": "a+b", "timestamp": "1+1"}


def test_it_is_decoded_once() -> None:
    assert read_query("nonce=%252B") == {"nonce": "%2B"}


def test_others_are_left_out_even_broken_ones() -> None:
    assert read_query("x=%zz&nonce=1&x=2&&=&y") == {"nonce": "1"}


@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_parameter_is_refused_even_with_the_same_value(name: str) -> None:
    assert reason(f"{name}=1&{name}=1") == "parameter repeated"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["%", "%2", "%2g", "a%zzb", "%u002B"])
def test_a_broken_encoding_is_refused(name: str, value: str) -> None:
    assert reason(f"{name}={value}") == "parameter encoding"


@pytest.mark.parametrize(("name", "longest"), LONGEST.items())
def test_the_length_of_a_value_has_its_limits(name: str, longest: int) -> None:
    assert read_query(f"{name}={'a' * longest}")[name] == "a" * longest
    assert reason(f"{name}={'a' * (longest + 1)}") == "parameter length"
    assert reason(f"{name}=") == "parameter length"
    assert reason(name) == "parameter length"


@pytest.mark.parametrize("missing", ["msg_signature", "timestamp", "nonce"])
def test_each_signed_parameter_is_needed(missing: str) -> None:
    query = "&".join(f"{name}=1" for name in NAMES if name != missing)
    assert reason(query) == "parameter missing"


def test_the_signed_ones_come_in_their_order() -> None:
    assert signed(read_query("nonce=3&timestamp=2&msg_signature=1&x=y")) == ("1", "2", "3")
