"""The record of one event: what it carries, its id, and that nothing which comes in makes it fail."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from core.envelope import (
    SCHEMA,
    UNDECODABLE,
    Envelope,
    EnvelopeUnreadable,
    decode,
    encode,
    event_id,
    interpret,
)
from tests.support.vectors import sample
from wecom.callback import read_event
from wecom.xml import leaves, parse, write

# A machine under load is slow, which is no finding.
IN_ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RECEIVED = 1403610520_250
"""In milliseconds, 7 seconds after the samples' CreateTime."""


def made(document: bytes, received_at: int = RECEIVED) -> Envelope:
    return interpret("ww1", "main", received_at, document)


def test_it_says_what_the_event_says() -> None:
    record = made(sample("add_external_contact"))
    assert (record.schema, record.corpid, record.callback, record.received_at) == (SCHEMA, "ww1", "main", RECEIVED)
    assert (record.event, record.change) == ("change_external_contact", "add_external_contact")
    assert (record.kind, record.object_id, record.userid) == ("customer", "woAJ2GCAAAXtWyujaWJHDDGi0mAAAA", "zhangsan")
    assert record.create_time == 1403610513
    assert record.key == "ww1:woAJ2GCAAAXtWyujaWJHDDGi0mAAAA"
    assert record.leaf("State") == "teststate"
    assert record.leaf("UserID") == "ZhangSan"
    assert record.leaf("Nothing") is None
    assert (record.raw, record.reason) == (None, None)


def test_an_element_that_is_empty_is_absent() -> None:
    record = made(sample("add_with_empty_elements"))
    assert ("State", "") in record.leaves
    assert record.leaf("State") is None


def test_without_an_object_the_event_is_the_key() -> None:
    assert made(sample("unknown_event")).key == "ww1:sys_approval_change"


@pytest.mark.parametrize(
    ("create_time", "seconds"),
    [
        ("1403610513", 1403610513),
        ("1403610513000", 1403610513),  # milliseconds
        ("1403610513999", 1403610513),
        ("1403610520", 1403610520),
        ("1403610521", 1403610520),  # in the future: never later than the arrival
        ("1903610513", 1403610520),
        ("1903610513000", 1403610520),
        ("9999999999999999", 1403610520),
        ("0", 1403610520),
        ("", 1403610520),
        ("soon", 1403610520),
        ("-1403610513", 1403610520),
        ("1", 1),
    ],
)
def test_the_moment_is_in_seconds_and_never_later_than_the_arrival(create_time: str, seconds: int) -> None:
    record = made(write([("Event", "x"), ("CreateTime", create_time)]))
    assert record.create_time == seconds
    assert ("CreateTime", create_time) in record.leaves


def test_a_missing_moment_is_the_arrival() -> None:
    assert made(b"<xml><Event>x</Event></xml>").create_time == RECEIVED // 1000


def test_milliseconds_in_a_whole_document() -> None:
    assert made(sample("add_in_milliseconds")).create_time == made(sample("add_without_state")).create_time


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"nonsense", b"<xml/>", b"\xff\xfe<\0", b'{"Event": "x"}', b"<!DOCTYPE x><xml><Event>x</Event></xml>"),
        b"<xml>" + b"<a>" * 50 + b"</a>" * 50 + b"</xml>",
    ],
)
def test_what_can_not_be_read_is_carried_as_it_came(document: bytes) -> None:
    record = made(document)
    assert (record.event, record.raw, record.leaves) == (UNDECODABLE, document, ())
    assert record.reason
    assert record.create_time == RECEIVED // 1000
    assert decode(encode(record)) == record
    assert made(document, RECEIVED + 5000).event_id == record.event_id
    assert interpret("ww2", "main", RECEIVED, document).event_id != record.event_id
    assert made(document + b" ").event_id != record.event_id


@IN_ANY_TIME
@given(document=st.binary(max_size=300), received_at=st.integers(0, 2**43))
def test_no_bytes_make_it_fail(document: bytes, received_at: int) -> None:
    record = made(document, received_at)
    assert decode(encode(record)) == record
    assert record.create_time * 1000 <= received_at


names = st.sampled_from(["Event", "ChangeType", "UserID", "ExternalUserID", "CreateTime", "State", "Items/Item", "Id"])
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(
    lambda text: text.replace("\ufffe", "").replace("\uffff", "").strip()
)
documents = st.lists(st.tuples(names, texts), min_size=1, max_size=8)


@IN_ANY_TIME
@given(pairs=documents, received_at=st.integers(0, 2**43))
def test_every_record_goes_there_and_back(pairs: list[tuple[str, str]], received_at: int) -> None:
    record = made(write([("Event", "change_external_contact"), *pairs]), received_at)
    assert record.event != UNDECODABLE
    assert decode(encode(record)) == record
    assert json.loads(encode(record))["schema"] == SCHEMA


@IN_ANY_TIME
@given(pairs=documents, data=st.data())
def test_its_id_does_not_depend_on_the_order(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(pairs))
    assert event_id("ww1", shuffled) == event_id("ww1", pairs)
    assert event_id("ww2", pairs) != event_id("ww1", pairs)


@IN_ANY_TIME
@given(pairs=documents, agentid=texts, code=texts, data=st.data())
def test_the_copies_of_two_apps_are_one_event(
    pairs: list[tuple[str, str]], agentid: str, code: str, data: st.DataObject
) -> None:
    own = [("AgentID", agentid), ("WelcomeCode", code)]
    assert event_id("ww1", data.draw(st.permutations([*pairs, *own]))) == event_id("ww1", pairs)


@IN_ANY_TIME
@given(pairs=documents, data=st.data())
def test_any_other_difference_is_another_event(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(pairs) - 1))
    path, text = pairs[place]
    other = data.draw(texts)
    assume(other != text)
    changed = [*pairs[:place], (path, other), *pairs[place + 1 :]]
    known = event_id("ww1", pairs)
    assert event_id("ww1", changed) != known
    assert event_id("ww1", [*pairs[:place], *pairs[place + 1 :]]) != known
    assert event_id("ww1", [*pairs, pairs[place]]) != known
    assert event_id("ww1", [*pairs[:place], (path + "x", text), *pairs[place + 1 :]]) != known


def test_texts_can_not_move_from_one_element_to_the_next() -> None:
    assert event_id("ww1", [("A", "bc"), ("D", "")]) != event_id("ww1", [("A", "b"), ("D", "c")])
    assert event_id("ww1", [("A", '","')]) != event_id("ww1", [("A", ""), ("", "")])


def test_a_delivery_again_with_other_white_space_is_the_same_event() -> None:
    document = sample("chat_update")
    again = write(leaves(parse(document)))
    assert again != document
    assert made(again, RECEIVED + 60_000).event_id == made(document).event_id


def test_the_id_is_the_same_for_ever() -> None:
    # Stored in the ledger as its key: a release that computes another one would enter every replayed event twice.
    expected = "9502115795db8da9105aaf9d4dcc3c08eccaf5dda58d5a2c776c293df9f8c3f5"
    assert event_id("ww1", read_event(sample("add_external_contact")).leaves) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"null", b"[]", b"{}", b"1", b"\xff", b"\0", b'{"schema": 1}', b'{"schema": "1"}', b'{"schema": null}'),
        *(b'{"schema": 2}', b'{"schema": 99999999999999999999}', b'{"schema": 1.5}', b'"\xed\xa0\x80"'),
        *(b"[" * 100_000, b'{"schema": 1, "x": ' + b"[" * 100_000, b'{"x": ' * 100_000),
        *(b'{"schema": 1, "event_id": "\\ud800"}', b'{"schema": 1', b'{"schema": 1} {"schema": 1}'),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_what_is_no_record_says_so(value: bytes) -> None:
    with pytest.raises(EnvelopeUnreadable) as raised:
        decode(value)
    assert raised.value.reason


def test_a_record_of_a_later_release_says_which() -> None:
    value = json.loads(encode(made(sample("add_external_contact")))) | {"schema": 7}
    with pytest.raises(EnvelopeUnreadable, match="schema 7"):
        decode(json.dumps(value).encode())


def test_a_field_that_a_later_release_adds_does_no_harm() -> None:
    record = made(sample("add_external_contact"))
    value = json.loads(encode(record)) | {"new": {"field": [1]}}
    assert decode(json.dumps(value).encode()) == record


@IN_ANY_TIME
@given(st.binary(max_size=100))
def test_no_bytes_make_reading_fail_in_another_way(value: bytes) -> None:
    with pytest.raises(EnvelopeUnreadable):
        decode(value)


@IN_ANY_TIME
@given(data=st.data())
def test_a_wrong_type_anywhere_is_no_record(data: st.DataObject) -> None:
    value = json.loads(encode(made(sample("add_external_contact"))))
    name = data.draw(st.sampled_from(sorted(value)))
    kind = data.draw(st.sampled_from([{}, [[1]], 1.5, True]))
    with pytest.raises(EnvelopeUnreadable):
        decode(msgspec.json.encode(value | {name: kind}))
