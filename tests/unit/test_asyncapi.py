"""The description of the topic says what the code publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.envelope import SCHEMA, Envelope, interpret
from core.eventlog.base import Record
from core.settings import KafkaSettings
from ingest.relay import Item, _items
from tests.support.vectors import SAMPLES, sample
from wecom_crm.topics import wanted_configs

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "contact-events.asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(PAGE.read_text(encoding="utf-8"))
CHANNEL: dict[str, Any] = DOCUMENT["channels"]["contactEvents"]
MESSAGE: dict[str, Any] = DOCUMENT["components"]["messages"]["event"]
ENVELOPE: dict[str, Any] = DOCUMENT["components"]["schemas"]["Envelope"]

CORPID = "ww1234567890abcdef"
RECEIVED = 1403610520_250
"""In milliseconds, as in the examples of the page."""
DOCUMENTS = {path.stem: path.read_bytes() for path in sorted((SAMPLES / "events").glob("*.xml"))}
DOCUMENTS["nonsense"] = b"<xml><Event>cut off"

DEFAULTS = KafkaSettings(bootstrap_servers="127.0.0.1:9092")


def words_of(schema: Any) -> Any:
    """A schema as msgspec gives it in the words of the page: draft 7, which writes tuples in another way."""
    if isinstance(schema, list):
        return [words_of(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: part for name, part in schema.items() if name not in {"title", "description"}}
    if "prefixItems" in schema:
        schema = schema | {"items": schema.pop("prefixItems"), "additionalItems": schema["items"]}
    return {name: words_of(part) for name, part in schema.items()}


async def published(*documents: bytes) -> list[Item]:
    """What the relay makes of deliveries."""
    deliveries = [
        Record(0, position, CORPID, document, {"callback": "contacts"}, RECEIVED)
        for position, document in enumerate(documents, 1)
    ]
    return await _items(deliveries)


def test_the_value_is_the_codes_own() -> None:
    # By way of JSON, which has no tuples.
    found = json.loads(msgspec.json.encode(msgspec.json.schema(Envelope)))["$defs"]["Envelope"]
    assert words_of(ENVELOPE) == words_of(found)


def test_every_property_is_described() -> None:
    described = {**ENVELOPE["properties"], **MESSAGE["headers"]["properties"]}
    assert [name for name, schema in described.items() if not schema.get("description")] == []


@pytest.mark.asyncio
async def test_headers_and_key_are_those_that_are_published() -> None:
    headers = MESSAGE["headers"]
    items = await published(*DOCUMENTS.values())
    assert len(items) > 20
    for item in items:
        assert set(item.headers) == set(headers["properties"]) == set(headers["required"])
        assert item.headers["schema"] == headers["properties"]["schema"]["const"]
    keys = MESSAGE["bindings"]["kafka"]["key"]["examples"]
    assert set(keys) <= {item.key for item in items}


@pytest.mark.asyncio
async def test_every_property_is_written_also_where_it_is_empty() -> None:
    for item in await published(*DOCUMENTS.values()):
        assert set(json.loads(item.value)) == set(ENVELOPE["properties"])


def test_every_kind_is_named() -> None:
    kinds = {interpret(CORPID, "contacts", RECEIVED, document).kind for document in DOCUMENTS.values()} - {None}
    named = re.search(r"What changed: ([\w, ]+);", ENVELOPE["properties"]["kind"]["description"])
    assert named is not None
    assert set(re.split(", | or ", named[1])) == kinds


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "document"), [("added", sample("add_external_contact")), ("undecodable", DOCUMENTS["nonsense"])]
)
async def test_the_examples_are_what_is_published(name: str, document: bytes) -> None:
    (example,) = [example for example in MESSAGE["examples"] if example["name"] == name]
    (item,) = await published(document)
    assert example["payload"] == json.loads(item.value)
    assert example["headers"] == item.headers


def test_the_topic_is_the_default_of_the_configuration() -> None:
    binding = CHANNEL["bindings"]["kafka"]
    assert CHANNEL["address"] == binding["topic"] == DEFAULTS.topic
    assert (binding["partitions"], binding["replicas"]) == (DEFAULTS.partitions, DEFAULTS.replication_factor)
    wanted = wanted_configs(DEFAULTS.replication_factor)
    assert binding["topicConfiguration"] == {
        "cleanup.policy": [wanted["cleanup.policy"]],
        "retention.ms": int(wanted["retention.ms"]),
    }
    group = DOCUMENT["operations"]["apply"]["bindings"]["kafka"]["groupId"]
    assert group["const"] == DEFAULTS.group_id


def test_the_version_is_the_schemas() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["version"].partition(".")[0] == str(SCHEMA)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) >= 5
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]
