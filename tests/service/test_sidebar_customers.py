"""The customer page's data: what is in it, who gets it, and where it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, update

from core.db.tables import contact_event, customer, customer_follow, employee_alias, pending_read
from sync.facts import Facts
from sync.objects.customers import write_facts
from tests.support.crm import rows
from tests.support.sidebar import CRM, LEVEL, MINE, OTHER, Bench, Tab, sidebar_bench, until_refused
from tests.support.waiting import until
from wecom.simulator.api import Refusal
from wecom.simulator.world import Change

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path) as bench:
        yield bench


async def opened(bench: Bench, userid: str = "ZhangSan", corpid: str = "ww1", agentid: int = CRM) -> Tab:
    tab = bench.browser(corpid, userid).tab(corpid, agentid)
    await tab.open()
    return tab


async def heard(bench: Bench, *changes: Change) -> None:
    """The tables know these events, and nothing has been read for them yet."""
    kinds = {"del_external_contact": "employee", "del_follow_user": "customer"}
    async with bench.database.write() as conn:
        now = await bench.database.clock(conn)
        for number, change in enumerate(changes):
            moment = now.replace(microsecond=0)
            facts = Facts(loss_at=moment, loss_by=kinds[change.change]) if change.change in kinds else Facts(moment)
            relation = (change.customer, change.employee.lower())
            await write_facts(conn, bench.database.dialect, change.corpid, {relation: facts}, now)
            row: dict[str, Any] = {
                "corpid": change.corpid,
                "event_id": f"{now}{number}",
                "event": "change_external_contact",
            }
            row |= {"change": change.change, "kind": "customer", "object_id": change.customer, "leaves": []}
            row |= {"userid": change.employee.lower(), "callback": "contacts", "outcome": "applied"}
            moments = {"happened_at": moment, "received_at": now, "recorded_at": now}
            await conn.execute(insert(contact_event), row | moments)


def gone(seen: Any) -> bool:
    """The one answer to whoever may not see it."""
    return (seen.status, seen.json()) == (404, {"code": "not_found"})


async def test_everything_about_a_customer(bench: Bench) -> None:
    await heard(bench, bench.world.add("ww1", "woB", "ZhangSan", add_way=202, remark="Bob", description="a note"))
    bench.world.add("ww1", "woB", "LiSi", remark="nobody else's business")
    bench.world.mark("ww1", "woB", "ZhangSan", add=[MINE, LEVEL])
    bench.world.mark("ww1", "woB", "LiSi", add=[bench.world.corp("ww1").tag("VIP")])
    bench.world.edit("ww1", "woB", "ZhangSan", remark_mobiles=["13800000000"])
    bench.world.add("ww1", "woB", "wangwu")
    await bench.know("woB")
    # A colleague who has them no more is none to ask.
    async with bench.database.write() as conn:
        former = customer_follow.c.follow_userid == "wangwu"
        now = await bench.database.clock(conn)
        await conn.execute(update(customer_follow).where(former).values(lost_at=now, lost_by="customer"))
    seen = await (await opened(bench)).customer("woB")
    assert seen.status == 200
    got = seen.json()
    assert got["customer"] == {
        "external_userid": "woB",
        "name": "Bob of ww1",
        # The platform's is plain http.
        "avatar": None,
        "type": 2,
        "gender": 1,
        "position": "Buyer",
        "corp_name": "Blue",
        "corp_full_name": None,
    }
    relation = got["relation"]
    assert (relation["status"], relation["lost_at"], relation["unseen_since"]) == ("active", None, None)
    assert (relation["remark"], relation["description"]) == ("Bob", "a note")
    assert relation["remark_mobiles"] == ["13800000000"]
    assert (relation["add_way"], relation["add_way_key"]) == (202, "assigned")
    assert got["tags"] == [
        {"group": "Level", "tags": [{"name": "VIP", "type": 1, "type_key": "corp"}]},
        {"group": "Mine", "tags": [{"name": "golf", "type": 2, "type_key": "personal"}]},
    ]
    assert [one["userid"] for one in got["colleagues"]] == ["lisi"]
    assert [one["change"] for one in got["events"]] == ["add_external_contact"]
    assert got["events"][0]["at"].endswith("Z")
    assert 0 <= got["synced"]["age_seconds"] < 10
    assert "business" not in seen.text


async def test_one_query_makes_a_page(bench: Bench) -> None:
    await bench.acquaint()
    tab = await opened(bench)
    bench.statements.clear()
    assert (await tab.customer()).status == 200
    assert len([one for one in bench.statements if one.startswith("SELECT")]) == 1
    assert [one for one in bench.statements if one.startswith(("INSERT", "UPDATE", "DELETE"))] == []


async def test_the_newest_twenty_events_of_this_employee_and_this_customer_only(bench: Bench) -> None:
    changes = [bench.world.add("ww1", "wmA", "ZhangSan"), bench.world.add("ww1", "wmA", "LiSi")]
    changes += [bench.world.add("ww1", "woB", "ZhangSan"), bench.world.add("ww2", "wmA", "ZhangSan")]
    await heard(bench, *changes)
    async with bench.database.write() as conn:
        first = contact_event.select().where(contact_event.c.object_id == "wmA", contact_event.c.userid == "zhangsan")
        row = dict((await conn.execute(first.where(contact_event.c.corpid == "ww1"))).mappings().one())
        moments = [row["happened_at"] + timedelta(minutes=number) for number in range(1, 26)]
        edits = [row | {"event_id": str(moment), "happened_at": moment, "change": "edit"} for moment in moments]
        await conn.execute(insert(contact_event), edits)
    await bench.know()
    events = (await (await opened(bench)).customer()).json()["events"]
    assert [one["change"] for one in events] == ["edit"] * 20
    assert events == sorted(events, key=lambda one: one["at"], reverse=True)
    lisi = (await (await opened(bench, "LiSi")).customer()).json()["events"]
    assert [one["change"] for one in lisi] == ["add_external_contact"]


async def test_events_under_the_id_that_the_employee_had_before(bench: Bench) -> None:
    before = bench.world.add("ww1", "wmA", "ZhangSan")
    await heard(bench, bench.world.add("ww1", "wmA", "LiSi"), before)
    async with bench.database.write() as conn:
        mine = contact_event.select().where(contact_event.c.userid == "zhangsan")
        row = dict((await conn.execute(mine)).mappings().one())
        told = row["happened_at"] + timedelta(minutes=1)
        alias = {"corpid": "ww1", "userid": "zhangsan.old", "new_userid": "zhangsan", "happened_at": told}
        await conn.execute(insert(employee_alias), alias)
        await conn.execute(insert(employee_alias), alias | {"corpid": "ww2", "userid": "lisi"})
        rows = [row | {"event_id": "mine", "userid": "zhangsan.old", "change": "edit"}]
        # Of whoever got the id after that, and of those who had either id before.
        others = [("zhangsan.old", told + timedelta(minutes=1))]
        for userid in ("zhangsan", "zhangsan.old"):
            gone = alias | {"userid": userid, "new_userid": "gone", "happened_at": told - timedelta(hours=2)}
            await conn.execute(insert(employee_alias), gone | {"given_at": told - timedelta(hours=1)})
            others.append((userid, told - timedelta(minutes=90)))
        for number, (userid, moment) in enumerate(others):
            rows.append(row | {"event_id": str(number), "userid": userid, "happened_at": moment})
        await conn.execute(insert(contact_event), rows)
    await bench.know()
    events = (await (await opened(bench)).customer()).json()["events"]
    assert sorted(one["change"] for one in events) == ["add_external_contact", "edit"]


async def test_a_relation_that_the_customer_ended_stays_readable_and_is_marked(bench: Bench) -> None:
    await bench.acquaint(remark="my note")
    bench.clock.tick(2)
    tab = await opened(bench)
    await lose(bench, "customer")
    got = (await tab.customer()).json()["relation"]
    assert (got["status"], got["lost_by"], got["remark"]) == ("ended_by_customer", "customer", "my note")
    assert got["lost_at"] is not None


@pytest.mark.parametrize("by", ["employee", "transfer", "left", "reconcile"])
async def test_a_relation_that_ended_otherwise_is_none(bench: Bench, by: str) -> None:
    await bench.acquaint()
    tab = await opened(bench)
    assert (await tab.customer()).status == 200
    bench.clock.tick(2)
    bench.world.delete("ww1", "wmA", "ZhangSan")
    await lose(bench, by)
    assert gone(await tab.customer())
    assert gone(await tab.refresh())


async def lose(bench: Bench, by: str) -> None:
    async with bench.database.write() as conn:
        now = await bench.database.clock(conn)
        values = {"lost_at": now, "lost_by": by, "last_loss_at": now, "last_loss_by": by}
        await conn.execute(update(customer_follow).values(values))


async def test_unknown_and_not_allowed_are_the_same_answer_after_the_same_call(bench: Bench) -> None:
    await bench.acquaint("wmA", "LiSi")
    await bench.acquaint("wmOnly-ww2", "ZhangSan", "ww2")
    tab = await opened(bench)
    answers = []
    for wanted in ("wmA", "wmNobody", "woB", "wmOnly-ww2", "x" * 128):
        before = bench.simulator.counts.calls(path="externalcontact/get")
        seen = await tab.customer(wanted)
        assert bench.simulator.counts.calls(path="externalcontact/get") == before + 1
        headers = {name: value for name, value in seen.headers.items() if name != "Date"}
        answers.append((seen.status, seen.body, headers))
    assert answers.count(answers[0]) == len(answers)
    assert answers[0][0] == 404
    # Made-up ids leave nothing behind.
    assert await rows(bench.database, customer, "corpid", "userid") == [
        {"corpid": "ww1", "userid": "wmA"},
        {"corpid": "ww2", "userid": "wmOnly-ww2"},
    ]
    assert await rows(bench.database, pending_read) == []


@pytest.mark.parametrize("wanted", ["x" * 129, "a\x00b", "a\nb", "%", "../../ww2", "wmA/refresh", "' OR 1=1 --"])
async def test_nonsense_is_not_found(bench: Bench, wanted: str) -> None:
    assert gone(await (await opened(bench)).customer(wanted))


async def test_ids_are_compared_with_letter_case(bench: Bench) -> None:
    await bench.acquaint()
    tab = await opened(bench)
    assert (await tab.customer("wmA")).status == 200
    assert gone(await tab.customer("wma"))
    assert gone(await tab.customer("wmA "))


async def test_a_customer_whose_event_was_lost_is_read_on_view(bench: Bench) -> None:
    bench.world.add("ww1", "wmA", "ZhangSan", remark="from the fair")
    tab = await opened(bench)
    seen = await tab.customer()
    assert (seen.status, seen.json()["relation"]["remark"]) == (200, "from the fair")
    assert bench.woken == ["ww1"]


async def test_one_that_a_colleague_has_and_the_employee_too(bench: Bench) -> None:
    """The tables know the customer, and not yet this employee's relation."""
    await bench.acquaint("wmA", "LiSi")
    bench.world.add("ww1", "wmA", "ZhangSan")
    got = (await (await opened(bench)).customer()).json()
    assert [one["userid"] for one in got["colleagues"]] == ["lisi"]


async def test_one_that_was_announced_and_not_read_yet(bench: Bench) -> None:
    await heard(bench, bench.world.add("ww1", "wmA", "ZhangSan"))
    assert (await (await opened(bench)).customer()).json()["customer"]["name"] == "Anna of ww1"


async def test_a_relation_that_began_again_unheard_is_found(bench: Bench) -> None:
    await bench.acquaint()
    bench.clock.tick(5)
    bench.world.delete("ww1", "wmA", "ZhangSan")
    await lose(bench, "employee")
    async with bench.database.write() as conn:
        now = await bench.database.clock(conn)
        hour = now - timedelta(hours=1)
        await conn.execute(update(customer_follow).values(last_loss_at=hour, lost_at=hour, last_add_at=None))
    tab = await opened(bench)
    assert gone(await tab.customer())
    bench.clock.tick(5)
    bench.world.add("ww1", "wmA", "ZhangSan")
    assert (await tab.customer()).json()["relation"]["status"] == "active"


async def test_a_relation_that_the_api_lists_a_while_longer_stays_ended(bench: Bench) -> None:
    await bench.acquaint()
    await lose(bench, "employee")
    tab = await opened(bench)
    assert gone(await tab.customer())
    assert await rows(bench.database, pending_read) == []


async def test_the_app_that_may_not_read_customers_shows_them_by_the_one_that_may(bench: Bench) -> None:
    bench.world.add("ww1", "wmA", "ZhangSan")
    assert (await (await opened(bench, agentid=OTHER)).customer()).status == 200


async def test_without_a_sync_that_reads_the_page_is_asked_to_come_again(tmp_path: Path) -> None:
    async with sidebar_bench(tmp_path, sync=False) as bench:
        bench.hurry(0.2)
        bench.world.add("ww1", "wmA", "ZhangSan")
        tab = await opened(bench)
        seen = await tab.customer()
        assert (seen.status, seen.json()) == (202, {"code": "not_synced", "retry_after": 2})
        await heard(bench, bench.world.add("ww1", "woB", "ZhangSan"))
        assert (await tab.customer("woB")).status == 202
        assert bench.woken == ["ww1", "ww1"]
        await bench.acquaint("wmOnly-ww1")
        seen = await tab.refresh("wmOnly-ww1")
        assert (seen.status, seen.json()["refreshed"]) == (200, False)


async def test_refresh_brings_what_was_edited_without_an_event(bench: Bench) -> None:
    await bench.acquaint(remark="old")
    tab = await opened(bench)
    bench.world.edit("ww1", "wmA", "ZhangSan", remark="new")
    assert (await tab.customer()).json()["relation"]["remark"] == "old"
    got = (await tab.refresh()).json()
    assert (got["relation"]["remark"], got["refreshed"]) == ("new", True)
    assert (await tab.customer()).json()["relation"]["remark"] == "new"


async def test_refresh_finds_a_relation_that_ended_meanwhile(bench: Bench) -> None:
    await bench.acquaint()
    tab = await opened(bench)
    refreshing = asyncio.create_task(tab.refresh())
    await until(lambda: bench.woken == ["ww1"])
    await lose(bench, "employee")
    assert gone(await refreshing) or (await refreshing).json()["refreshed"]
    assert gone(await tab.customer())


async def test_so_many_refreshes_a_minute(bench: Bench) -> None:
    bench.hurry(0.01)
    await bench.acquaint()
    tab = await opened(bench)
    seen = await until_refused(tab.refresh)
    assert {one.status for one in seen[:-1]} == {200}
    assert 10 <= len(seen) - 1 < 20
    assert (await tab.customer()).status == 200


async def test_so_many_ids_may_be_tried_a_minute(bench: Bench) -> None:
    tab = await opened(bench)
    seen = await until_refused(lambda: tab.customer("wmNobody"))
    assert {one.status for one in seen[:-1]} == {404}
    assert 20 <= len(seen) - 1 < 40
    assert bench.simulator.counts.calls(path="externalcontact/get") == len(seen) - 1


@pytest.mark.parametrize(
    ("errcode", "code"), [(48002, "platform_paused"), (60020, "platform_paused"), (-1, "platform")]
)
async def test_a_platform_that_does_not_tell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, errcode: int, code: str
) -> None:
    await bench.acquaint("woB")
    tab = await opened(bench)

    def refuse(*_: object) -> dict[str, object]:
        raise Refusal(errcode)

    monkeypatch.setitem(bench.simulator.api.handlers, "externalcontact/get", refuse)
    seen = await tab.customer()
    assert (seen.status, seen.json()["code"], seen.json()["errcode"]) == (503, code, errcode)
    # What is there is shown.
    assert (await tab.customer("woB")).status == 200


async def test_a_rate_limit_says_how_long(bench: Bench) -> None:
    tab = await opened(bench)
    bench.simulator.faults.rate_limit("ww1", 30)
    seen = await tab.customer()
    assert (seen.status, seen.json()["errcode"], seen.json()["retry_after"]) == (503, 45009, 60)
    assert seen.headers["Retry-After"] == "60"


async def test_a_token_revoked_in_the_middle(bench: Bench) -> None:
    bench.world.add("ww1", "wmA", "ZhangSan")
    tab = await opened(bench)
    bench.simulator.api.revoke_tokens()
    assert (await tab.customer()).status == 200
    assert len(bench.simulator.counts.gettoken["ww1", CRM]) == 2
