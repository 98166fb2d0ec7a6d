"""Order does not matter: every order of arrival, every place of a read in between, one and the same row at the end.

Thousands of stories run side by side in one database, a customer each: what differs between them is only the order,
and all of them have to end alike, column by column.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.db.engine import Database
from core.db.tables import customer, customer_follow, customer_follow_tag
from core.envelope import interpret
from sync.effects import effect_of, fold_facts
from sync.facts import Facts
from sync.objects.base import Answer
from sync.objects.customers import write_answers, write_facts
from tests.support.crm import a_customer, a_follow, contact_change, corp_tag, crm_database, day, rows
from wecom.customers import Customer

pytestmark = pytest.mark.asyncio

# When the reads take place, by the database's clock: after the events, as in life.
READS = [day(10, 20), day(10, 21), day(10, 22), day(10, 23)]
SETTLED = day(10, 30)
NOTHING, NOBODY, LEFT_OUT, STALE = "nothing", "nobody", "left out", "stale"
BETWEEN = (NOTHING, NOBODY, LEFT_OUT, STALE)


@dataclass(frozen=True)
class Story:
    """Events in the order of their arrival, and what a read finds before, between and after them."""

    events: tuple[bytes, ...]
    reads: tuple[str, ...]


def facts_of(document: bytes, userid: str) -> Mapping[tuple[str, str], Facts]:
    """Through the same functions as in apply."""
    received_at = int(day(23).timestamp() * 1000)
    effect = effect_of(interpret("ww1", "contacts", received_at, document))
    return {(userid, member): facts for (_, member), facts in fold_facts([effect]).items()}


def shown(what: str, userid: str) -> Customer | None:
    """What the API says before it has caught up."""
    if what == NOBODY:
        return None
    stale = a_follow(since=day(10), remark="stale", tags=(corp_tag("stale"),))
    return a_customer(*(() if what == LEFT_OUT else (stale,)), a_follow("lisi", since=day(8)), userid=userid)


async def tell(database: Database, stories: Mapping[str, Story], end: Customer | None) -> None:
    """Live through all of them at once; at the end each is read once more, settled."""

    async def read(step: int) -> None:
        answers = [
            Answer(userid, READS[step], shown(story.reads[step], userid))
            for userid, story in stories.items()
            if story.reads[step] != NOTHING
        ]
        if answers:
            async with database.write() as conn:
                await write_answers(conn, database.dialect, "ww1", answers, day(23))

    lengths = {len(story.events) for story in stories.values()}
    for step in range(max(lengths)):
        await read(step)
        facts: dict[tuple[str, str], Facts] = {}
        for userid, story in stories.items():
            facts |= facts_of(story.events[step], userid)
        async with database.write() as conn:
            await write_facts(conn, database.dialect, "ww1", facts, day(23))
    await read(max(lengths))
    if end is not None:
        async with database.write() as conn:
            last = [Answer(userid, SETTLED, end) for userid in stories]
            await write_answers(conn, database.dialect, "ww1", last, day(23))


async def outcomes(database: Database, member: str = "zhangsan") -> set[tuple[tuple[str, Any], ...]]:
    """The different rows, all columns but the customer's id; one if order does not matter."""
    found = await rows(database, customer_follow)
    return {
        tuple((name, str(value)) for name, value in row.items() if name != "userid")
        for row in found
        if row["follow_userid"] == member
    }


def only(outcome: set[tuple[tuple[str, Any], ...]]) -> dict[str, Any]:
    assert len(outcome) == 1, f"{len(outcome)} different rows"
    return dict(next(iter(outcome)))


def stories_of(events: Sequence[bytes], between: Sequence[str] = BETWEEN) -> dict[str, Story]:
    """Every order of the events with every choice of what reads find in the places around them."""
    places = product(between, repeat=len(events) + 1)
    told = [Story(order, reads) for reads in places for order in permutations(events)]
    return {f"wm{number:05}": story for number, story in enumerate(told)}


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with crm_database(tmp_path) as opened:
        yield opened


def add(moment: datetime) -> bytes:
    return contact_change("add_external_contact", moment)


LOSSES = [
    pytest.param("del_follow_user", {}, "customer", id="by the customer"),
    pytest.param("del_external_contact", {}, "employee", id="by the employee"),
    pytest.param("del_external_contact", {"Source": "DELETE_BY_TRANSFER"}, "transfer", id="by a transfer"),
]


@pytest.mark.parametrize(("loss", "more", "by"), LOSSES)
async def test_added_lost_and_added_again_stands(database: Database, loss: str, more: dict[str, str], by: str) -> None:
    events = [add(day(10)), contact_change(loss, day(10, 5), **more), add(day(10, 9))]
    stories = stories_of(events)
    assert len(stories) == 6 * 4**4
    relation = a_follow(since=day(10, 9), remark="true", tags=(corp_tag("true"),))
    await tell(database, stories, a_customer(relation, a_follow("lisi", since=day(8))))
    row = only(await outcomes(database))
    assert (row["lost_at"], row["lost_by"], row["unseen_since"]) == ("None", "None", "None")
    assert (row["last_add_at"], row["last_loss_at"], row["last_loss_by"]) == (str(day(10, 9)), str(day(10, 5)), by)
    assert (row["remark"], row["fetched_at"]) == ("true", str(SETTLED))
    assert {tag["tag_id"] for tag in await rows(database, customer_follow_tag)} == {"true"}
    assert {tuple(each.values()) for each in await rows(database, customer, "name", "gone_at")} == {("Lin", None)}
    # And the other employee's relation, which had no events, is as if nothing had been.
    other = only(await outcomes(database, "lisi"))
    assert (other["lost_at"], other["last_add_at"], other["unseen_since"]) == ("None",) * 3


@pytest.mark.parametrize(("loss", "more", "by"), LOSSES)
@pytest.mark.parametrize("last", [STALE, LEFT_OUT, NOBODY])
async def test_added_edited_and_lost_has_ended_whatever_the_api_shows_last(
    database: Database, loss: str, more: dict[str, str], by: str, last: str
) -> None:
    """A late edit, or a listing that the platform goes on showing, does not bring it back."""
    edit = contact_change("edit_external_contact", day(10, 8))
    events = [add(day(10)), contact_change(loss, day(10, 5), **more), edit]
    stories = stories_of(events, (NOTHING, STALE, LEFT_OUT))
    stories = {userid: Story(story.events, (*story.reads[:3], STALE)) for userid, story in stories.items()}
    await tell(database, stories, None)
    async with database.write() as conn:
        answers = [Answer(userid, SETTLED, shown(last, userid)) for userid in stories]
        await write_answers(conn, database.dialect, "ww1", answers, day(23))
    row = only(await outcomes(database))
    assert (row["lost_at"], row["lost_by"], row["unseen_since"]) == (str(day(10, 5)), by, "None")


async def test_a_return_that_only_a_read_tells_of_stands(database: Database) -> None:
    """The add event never came; the relation is listed with a beginning after the loss."""
    events = [add(day(10)), contact_change("del_follow_user", day(10, 5)), add(day(9))]
    await tell(database, stories_of(events), a_customer(a_follow(since=day(10, 7))))
    row = only(await outcomes(database))
    assert (row["lost_at"], row["last_loss_at"], row["last_add_at"]) == ("None", str(day(10, 5)), str(day(10)))


async def test_two_losses_in_one_second_are_one_row_too(database: Database) -> None:
    events = [
        contact_change("del_follow_user", day(10, 5)),
        contact_change("del_external_contact", day(10, 5)),
        add(day(10, 5)),
    ]
    await tell(database, stories_of(events, (NOTHING, STALE)), a_customer(a_follow(since=day(10))))
    row = only(await outcomes(database))
    assert (row["lost_at"], row["lost_by"]) == (str(day(10, 5)), "customer")


async def test_answers_that_arrive_in_any_order_end_alike(database: Database) -> None:
    """The order of the calls counts, not that of the answers."""
    told: list[tuple[datetime, Customer | None]] = [
        (day(11) + timedelta(minutes=number), a_customer(a_follow(remark=str(number), tags=(corp_tag(f"t{number}"),))))
        for number in range(4)
    ]
    for number, order in enumerate(permutations(told)):
        for fetched_at, answer in order:
            async with database.write() as conn:
                written = [Answer(f"wm{number}", fetched_at, answer)]
                await write_answers(conn, database.dialect, "ww1", written, day(23))
    assert only(await outcomes(database))["remark"] == "3"
    assert {row["tag_id"] for row in await rows(database, customer_follow_tag)} == {"t3"}
    assert len(await rows(database, customer_follow_tag)) == 24


async def test_repeating_everything_changes_nothing(database: Database) -> None:
    events = [add(day(10)), contact_change("del_external_contact", day(10, 5)), add(day(10, 9))]
    end = a_customer(a_follow(since=day(10, 9)), a_follow("lisi", since=day(8)))
    stories = stories_of(events, (NOTHING, LEFT_OUT))
    await tell(database, stories, end)
    before = await rows(database, customer_follow)
    await tell(database, stories, end)
    assert await rows(database, customer_follow) == before
