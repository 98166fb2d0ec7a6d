"""The product on what its users run: Kafka between ingest and two copies of sync, PostgreSQL or MariaDB below."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from core.envelope import interpret
from tests.support.cluster import Cluster, cluster_on
from tests.support.product import Premises
from tests.support.servers.kcat import Kcat
from wecom.callback import document_of
from wecom.simulator.events import CONTACT, Change
from wecom.simulator.world import WELCOME_CODE

pytestmark = pytest.mark.asyncio

CHANGES = 600
MOBILE = "13912345678"
FIELDS = {
    *("schema", "event_id", "corpid", "callback", "event", "change", "kind", "object_id", "userid"),
    *("create_time", "received_at", "leaves", "raw", "reason"),
}
"""Of the JSON (the reference page of the topic)."""


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


async def test_two_copies_of_sync_end_in_three_zeros(
    premises: Premises, kcat: Kcat, kafka: str, topic: str, server: str
) -> None:
    async with cluster_on(premises, kcat, kafka, topic, server) as cluster:
        ingest, *copies = cluster.ingest(), cluster.sync(), cluster.sync()
        async with cluster.running(ingest, *copies):
            await cluster.push(CHANGES)
            records = await cluster.settle()
            report = await cluster.check(records)
            # Before one of them stops, and leaves its own to the other.
            first, second = ({*cluster.partitions_of(copy)[-1]} for copy in copies)
            for service in (ingest, *copies):
                assert await service.stop() == 0, service.last_words()
    assert report.relations > report.customers > 100
    assert (len(first), len(second), first & second) == (3, 3, set())


async def test_kcat_reads_ids_and_no_secret_and_nothing_personal(
    premises: Premises, kcat: Kcat, kafka: str, topic: str, postgres_server: str
) -> None:
    async with cluster_on(premises, kcat, kafka, topic, postgres_server) as cluster:
        async with cluster.running(cluster.ingest()):
            await cluster.push(CHANGES)
            await cluster.simulator.pusher.push(_members_changed(cluster))
            await cluster.simulator.pusher.drain()
            await cluster.until_relayed()
        records = await cluster.records()
        whole = "\n".join(f"{record.key}\n{record.headers}\n{record.value}" for record in records)
        received = b"\n".join(document for _, _, document in premises.records()).decode()
        pushed = {}
        for delivery in cluster.simulator.pusher.deliveries:
            change = delivery.change
            expected = interpret(change.corpid, delivery.callback, 0, document_of(change.leaves))
            pushed[expected.event_id] = change
        personal = set(_personal(cluster))
    assert len(records) >= CHANGES
    for record in records:
        document = record.document
        change = pushed[document["event_id"]]
        assert document.keys() == FIELDS
        is_member = change.change.endswith("_user") and change.event == CONTACT
        object_id = change.object_id.lower() if is_member else change.object_id
        assert record.key == f"{change.corpid}:{object_id or change.event}"
        assert record.headers == {"event": document["event"], "change": change.change, "schema": "1"}
        leaves = dict(map(tuple, document["leaves"]))
        assert (document["schema"], document["corpid"], document["callback"]) == (1, change.corpid, "contacts")
        assert (document["event"], document["change"]) == (leaves["Event"], change.change)
        assert document["object_id"] == (object_id or None)
        assert document["userid"] == ((object_id if is_member else change.employee.lower()) or None)
        assert document["create_time"] == change.create_time <= document["received_at"] / 1000
        assert (document["raw"], document["reason"]) == (None, None)
    # What is looked for is in what was received, or is known to the simulator's API only.
    assert received.count(WELCOME_CODE) > 100
    assert MOBILE in received
    assert len(personal) > 300
    assert WELCOME_CODE not in whole
    assert [words for words in personal if words in whole] == []
    assert re.findall(r"(?<![0-9A-Za-z])1[3-9][0-9]{9}(?![0-9A-Za-z])", whole) == []


def _members_changed(cluster: Cluster) -> Iterator[Change]:
    """The address book changes, which the small WeCom does not do by itself: events with names and phone numbers."""
    moment = int(cluster.simulator.world.clock())
    for corp in cluster.simulator.world.corps.values():
        for employee in corp.employees.values():
            leaves = (
                *(("ToUserName", corp.corpid), ("FromUserName", "sys"), ("CreateTime", str(moment))),
                *(("MsgType", "event"), ("Event", "change_contact"), ("ChangeType", "update_user")),
                *(("UserID", employee.userid), ("Name", employee.name), ("Mobile", MOBILE)),
                ("Email", f"{employee.userid}@mail.example"),
            )
            yield Change(corp.corpid, "update_user", "", "", moment, leaves, CONTACT, employee.userid)


def _personal(cluster: Cluster) -> Iterator[str]:
    """Everything that the platform knows of people, ids aside; nothing that is so short that an id may contain it."""
    yield from (MOBILE, "@mail.example")
    for corp in cluster.simulator.world.corps.values():
        yield from (employee.name for employee in corp.employees.values())
        for customer in corp.customers.values():
            texts = (customer.name, customer.avatar, customer.unionid, customer.corp_full_name, customer.position)
            yield from (text for text in texts if text and (len(text) > 7 or not text.isascii()))
        for relation in corp.made:
            texts = (relation.remark, relation.description, relation.remark_corp_name, *relation.remark_mobiles)
            yield from (text for text in texts if text and (len(text) > 7 or not text.isascii()))
