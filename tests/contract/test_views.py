"""The views for analysts tell the same on every database: what a change of a relation is, and everything around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from core.db.engine import Database
from core.db.tables import (
    HISTORY,
    customer,
    customer_follow,
    customer_follow_tag,
    dead_letter,
    department,
    employee,
    employee_alias,
    group_chat,
    group_chat_member,
    group_chat_version,
    pending_read,
    tag,
    tag_group,
)
from sync.facts import Facts
from sync.objects.base import Answer, Cause
from sync.objects.customers import write_answers, write_facts
from tests.support.crm import a_customer, a_follow, crm_database_at, day
from tests.support.views import COLUMNS, Ledger, put, seen
from wecom_crm.dictionary import views

pytestmark = pytest.mark.asyncio

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
ADD, HALF_ADD = "add_external_contact", "add_half_external_contact"
DELETE, CUSTOMER_DELETE = "del_external_contact", "del_follow_user"


@pytest_asyncio.fixture
async def db(migrated_url: str) -> AsyncIterator[Database]:
    async with crm_database_at(migrated_url, ("ww1", "ww2")) as database:
        yield database


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


# What each database calls the types of the dictionary; a list because a view may widen one.
TYPES = {
    "postgresql": {
        "id": {"character varying"},
        "text": {"text", "character varying"},
        "integer": {"integer", "bigint"},
        "instant": {"timestamp with time zone"},
        "day": {"date"},
        "JSON": {"json"},
    },
    "mysql": {
        "id": {"varchar"},
        "text": {"text", "mediumtext", "longtext", "varchar"},
        "integer": {"int", "bigint"},
        "instant": {"datetime"},
        "day": {"date"},
        "JSON": {"longtext"},
    },
}


async def test_the_columns_are_those_of_the_dictionary(db: Database) -> None:
    for view in views():
        async with db.read() as conn:
            found = list((await conn.execute(text(f"SELECT * FROM {view.name}"))).keys())
        assert found == [column.name for column in view.columns], view.name


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"])  # on SQLite a view's columns have no types
async def test_their_types_are_those_of_the_dictionary_and_ids_compare_byte_by_byte(db: Database) -> None:
    schema = "current_schema()" if db.dialect == "postgresql" else "database()"
    statement = text(
        "SELECT table_name AS view, column_name AS name, data_type AS told, collation_name AS compared "
        f"FROM information_schema.columns WHERE table_schema = {schema}"
    )
    async with db.read() as conn:
        found = {(row.view, row.name): (row.told, row.compared) for row in await conn.execute(statement)}
    wrong = []
    for view, columns in COLUMNS.items():
        for name, kind in columns.items():
            told, collation = found[view, name]
            bytewise = kind != "id" or collation in {"C", "utf8mb4_nopad_bin"}
            if told not in TYPES[db.dialect][kind] or not bytewise:
                wrong.append((view, name, kind, told, collation))
    assert wrong == []


@pytest.mark.parametrize("database_kind", ["postgresql"])  # the others have no comments on views
async def test_the_meanings_are_kept_as_comments(db: Database) -> None:
    statement = text(
        "SELECT c.relname AS view, a.attname AS name, obj_description(c.oid) AS tells, "
        "col_description(c.oid, a.attnum) AS means "
        "FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid WHERE c.relkind = 'v' AND a.attnum > 0 "
        "AND c.relnamespace = 'public'::regnamespace".replace(":", r"\:")
    )
    async with db.read() as conn:
        found = {(row.view, row.name): (row.tells, row.means) for row in await conn.execute(statement)}
    assert found == {(v.name, c.name): (v.comment, c.comment) for v in views() for c in v.columns}


@dataclass
class Story:
    """What became known of one relation, and what of that is a change of it."""

    events: Sequence[tuple[Any, ...]] = ()
    """Change, moment, and perhaps the member's id and further columns."""
    changes: Sequence[tuple[datetime, str, str | None]] = ()
    follow: Mapping[str, Any] | None = field(default_factory=dict)
    """The relation's row; None: there is none."""
    versions: Sequence[Mapping[str, Any]] = ()
    """Rows of its history."""
    employee: str = "zhangsan"


LOST = {"lost_at": day(12), "lost_by": "customer"}
REFUTED: Sequence[Mapping[str, Any]] = [
    {"valid_from": day(10), "valid_to": day(11, 1)},
    {"valid_from": day(11, 1), "valid_to": day(12), "lost_at": day(11), "lost_by": "employee"},
    {"valid_from": day(12), "valid_to": day(13, 1)},
    {"valid_from": day(13, 1), "lost_at": day(13), "lost_by": "customer"},
]
"""A relation that stood again at twelve, and was lost for good at thirteen hours."""
RETURNED = [
    (day(10), "add", None),
    (day(11), "loss", "employee"),
    (day(12), "add", None),
    (day(13), "loss", "customer"),
]
TRANSFER = {"detail": "DELETE_BY_TRANSFER"}
STORIES = {
    "an add": Story([(ADD, day(10))], [(day(10), "add", None)]),
    "half an add and the add": Story([(HALF_ADD, day(10)), (ADD, day(11))], [(day(10), "add", None)]),
    "two copies of an add": Story([(ADD, day(10)), (ADD, day(10))], [(day(10), "add", None)]),
    "added and lost": Story(
        [(ADD, day(10)), (CUSTOMER_DELETE, day(12))], [(day(10), "add", None), (day(12), "loss", "customer")], LOST
    ),
    "two copies of a loss": Story(
        [(CUSTOMER_DELETE, day(12)), (CUSTOMER_DELETE, day(12))], [(day(12), "loss", "customer")], LOST
    ),
    "the customer's loss and later the employee's": Story(
        [(ADD, day(10)), (CUSTOMER_DELETE, day(11)), (DELETE, day(12))],
        [(day(10), "add", None), (day(11), "loss", "customer")],
        {"lost_at": day(12), "lost_by": "employee"},
    ),
    "lost and added again": Story(
        [(ADD, day(10)), (DELETE, day(11)), (ADD, day(12))],
        [(day(10), "add", None), (day(11), "loss", "employee"), (day(12), "add", None)],
    ),
    "an add and a loss in one second": Story(
        [(CUSTOMER_DELETE, day(12)), (ADD, day(12))], [(day(12), "add", None), (day(12), "loss", "customer")], LOST
    ),
    "an add again and a loss in one second": Story(
        [(ADD, day(10)), (CUSTOMER_DELETE, day(12)), (ADD, day(12))],
        [(day(10), "add", None), (day(12), "loss", "customer")],
        LOST,
    ),
    "both sides' losses in one second": Story(
        [(DELETE, day(12)), (CUSTOMER_DELETE, day(12))], [(day(12), "loss", "customer")], LOST
    ),
    "a transfer": Story([(DELETE, day(12), "zhangsan", TRANSFER)], [(day(12), "loss", "transfer")], None),
    "a transfer that an earlier release wrote down": Story(
        [(DELETE, day(12), "zhangsan", {"leaves": [["UserID", "x"], ["Source", "DELETE_BY_TRANSFER"]]})],
        [(day(12), "loss", "transfer")],
        None,
    ),
    "a channel that only sounds like a transfer": Story(
        [(DELETE, day(12), "zhangsan", {"leaves": [["State", "DELETE_BY_TRANSFER"]]})],
        [(day(12), "loss", "employee")],
        None,
    ),
    "edits and failed transfers": Story([("edit_external_contact", day(10)), ("transfer_fail", day(11))]),
    "an event that nobody understood": Story([(ADD, day(10), "zhangsan", {"outcome": "unknown"})]),
    "another family's change of the same name": Story([(ADD, day(10), "zhangsan", {"event": "change_other"})]),
    "an event that names no employee": Story([(ADD, day(10), None)]),
    "a loss of somebody never heard of": Story([(DELETE, day(12))], [(day(12), "loss", "employee")], None),
    "found by reading only": Story([], [(day(10), "add", None)], {"createtime": seconds(day(10))}),
    "found by reading and lost": Story(
        [(CUSTOMER_DELETE, day(12))],
        [(day(10), "add", None), (day(12), "loss", "customer")],
        LOST | {"createtime": seconds(day(10))},
    ),
    "read after its add": Story([(ADD, day(10))], [(day(10), "add", None)], {"createtime": seconds(day(10))}),
    "a return that no event told": Story(
        [(ADD, day(10)), (CUSTOMER_DELETE, day(11))],
        [(day(10), "add", None), (day(11), "loss", "customer"), (day(12), "add", None)],
        {"createtime": seconds(day(12))},
    ),
    "a beginning that only the history has": Story(
        [(CUSTOMER_DELETE, day(11)), (ADD, day(12))],
        [(day(10), "add", None), (day(11), "loss", "customer"), (day(12), "add", None)],
        {"createtime": seconds(day(12))},
        [{"createtime": seconds(day(10))}, {"createtime": seconds(day(12))}],
    ),
    "a loss that the platform refuted": Story([(ADD, day(10)), (DELETE, day(11))], [(day(10), "add", None)]),
    "a loss that was refuted, and another": Story(
        [(ADD, day(10)), (DELETE, day(11)), (CUSTOMER_DELETE, day(13))],
        [(day(10), "add", None), (day(13), "loss", "customer")],
        {"lost_at": day(13), "lost_by": "customer"},
        REFUTED,
    ),
    "losses of which one was refuted, another, and a return": Story(
        [(ADD, day(10)), (DELETE, day(10, 30)), (DELETE, day(11)), (CUSTOMER_DELETE, day(13)), (ADD, day(14))],
        [(day(10), "add", None), (day(13), "loss", "customer"), (day(14), "add", None)],
        {},
        [*REFUTED[:-1], REFUTED[-1] | {"valid_to": day(14, 1)}, {"valid_from": day(14, 1), "happened_at": day(14)}],
    ),
    "a return that ended": Story(
        [(ADD, day(10)), (DELETE, day(11)), (ADD, day(12)), (CUSTOMER_DELETE, day(13))],
        RETURNED,
        {"lost_at": day(13), "lost_by": "customer"},
        REFUTED,
    ),
    "a return that ended, by a database whose clock is behind": Story(
        [(ADD, day(10)), (DELETE, day(11)), (ADD, day(12, 0, 5)), (CUSTOMER_DELETE, day(13))],
        [*RETURNED[:2], (day(12, 0, 5), "add", None), RETURNED[3]],
        {"lost_at": day(13), "lost_by": "customer"},
        [*REFUTED[:2], REFUTED[2] | {"happened_at": day(12, 0, 5)}, REFUTED[3]],
    ),
    "a loss that only the history has": Story(
        [(ADD, day(13))],
        [(day(10), "add", None), (day(12), "loss", "reconcile"), (day(13), "add", None)],
        {"createtime": seconds(day(13))},
        [{"createtime": seconds(day(10)), "lost_at": day(12), "lost_by": "reconcile"}],
    ),
    "an employee who left": Story(
        [(ADD, day(10))],
        [(day(10), "add", None), (day(12), "loss", "left")],
        {"lost_at": day(12), "lost_by": "left"},
    ),
    "an employee who left and whose customer was handed over later": Story(
        [(ADD, day(10)), (DELETE, day(13), "zhangsan", TRANSFER)],
        [(day(10), "add", None), (day(13), "loss", "transfer")],
        {"lost_at": day(13), "lost_by": "transfer"},
        [{"lost_at": day(12), "lost_by": "left"}, {"lost_at": day(13), "lost_by": "transfer"}],
    ),
    "an employee who left and was there again": Story(
        [(ADD, day(10)), (ADD, day(13)), (CUSTOMER_DELETE, day(14))],
        [(day(10), "add", None), (day(12), "loss", "left"), (day(13), "add", None), (day(14), "loss", "customer")],
        {"lost_at": day(14), "lost_by": "customer"},
        [{"lost_at": day(12), "lost_by": "left"}],
    ),
    "an employee under two ids": Story(
        [(ADD, day(10), "old"), (ADD, day(11), "new"), (CUSTOMER_DELETE, day(12), "old")],
        [(day(10), "add", None), (day(12), "loss", "customer")],
        LOST,
        [{"createtime": seconds(day(10)), "follow_userid": "old"}],
        employee="new",
    ),
    "an employee under three ids": Story(
        [(ADD, day(10), "first"), (DELETE, day(11), "second")],
        [(day(10), "add", None), (day(11), "loss", "employee")],
        {"lost_at": day(11), "lost_by": "employee"},
        employee="third",
    ),
}


async def tell(db: Database, stories: Mapping[str, Story]) -> None:
    """A customer for each story, whose name it is."""
    ledger = Ledger(db)
    await put(db, customer, *({"userid": name} for name in stories))
    for name, story in stories.items():
        for change, moment, *more in story.events:
            member = more[0] if more else story.employee
            await ledger.write(change, moment, name, member, **(more[1] if more[1:] else {}))
        if story.follow is not None:
            await put(db, customer_follow, {"userid": name, "follow_userid": story.employee} | dict(story.follow))
        for number, version in enumerate(story.versions):
            key = {"userid": name, "follow_userid": story.employee, "valid_from": day(10, number), "source": "event"}
            await put(db, HISTORY["customer_follow"], key | dict(version))


ALIASES = [
    {"userid": "old", "new_userid": "new", "happened_at": day(10, 30)},
    {"userid": "first", "new_userid": "second", "happened_at": day(10, 30)},
    {"userid": "second", "new_userid": "third", "happened_at": day(11, 30)},
]


async def test_a_change_of_a_relation_counts_once_however_it_was_told(db: Database) -> None:
    await put(db, employee_alias, *ALIASES)
    await tell(db, STORIES)
    told: dict[str, list[tuple[datetime, str, str | None]]] = {name: [] for name in STORIES}
    for row in await seen(db, "v_relation_change"):
        assert row["follow_userid"] == STORIES[row["external_userid"]].employee
        assert row["external_userid"] == row["userid"]
        told[row["userid"]].append((row["happened_at"], row["direction"], row["lost_by"]))
    assert {name: sorted(changes, key=str) for name, changes in told.items()} == {
        name: sorted(story.changes, key=str) for name, story in STORIES.items()
    }


async def test_a_loss_that_a_listing_refuted_is_none_whenever_it_became_known(db: Database) -> None:
    """Written as sync writes it, in each order: one end, and it is the row's."""
    began, deleted, listed, ended = (day(10) + timedelta(days=number) for number in (0, 1, 3, 4))
    told = {
        ADD: (began, Facts(add_at=began)),
        DELETE: (deleted, Facts(loss_at=deleted, loss_by="employee")),
        CUSTOMER_DELETE: (ended, Facts(loss_at=ended, loss_by="customer")),
    }
    ledger = Ledger(db)
    known: dict[str, datetime] = {}
    for number, order in enumerate(permutations((DELETE, "listing", CUSTOMER_DELETE))):
        name = f"wm{number}"
        for hour, step in enumerate((ADD, *order)):
            now = day(hour) + timedelta(days=9)
            async with db.write() as conn:
                if step in told:
                    await write_facts(conn, db.dialect, "ww1", {(name, "zhangsan"): told[step][1]}, now)
                else:
                    shown = a_customer(a_follow(since=began), userid=name)
                    await write_answers(conn, db.dialect, "ww1", [Answer(name, listed, shown, Cause("view"))], now)
            if step in told:
                await ledger.write(step, told[step][0], name, recorded_at=now)
            known[step] = now
        assert await seen(db, "v_customer_follow", "lost_at", "lost_by", where=f"userid = '{name}'") == [
            {"lost_at": ended, "lost_by": "customer"}
        ]
        names = ("happened_at", "lost_by", "known_at")
        found = await seen(db, "v_relation_change", *names, where=f"userid = '{name}'")
        changes = [(began, None, known[ADD]), (ended, "customer", known[CUSTOMER_DELETE])]
        assert [tuple(row.values()) for row in found] == changes, order


async def test_the_flow_of_a_day_counts_changes_by_direction(db: Database) -> None:
    await tell(db, {name: story for name, story in STORIES.items() if story.employee == "zhangsan"})
    await Ledger(db).write(ADD, day(10), "wmOther", "lisi", event_id="other")
    stories = [story for story in STORIES.values() if story.employee == "zhangsan"]
    changes = [change for story in stories for change in story.changes]

    def losses(*by: str) -> int:
        return sum(1 for _, direction, lost_by in changes if direction == "loss" and lost_by in by)

    adds = sum(1 for _, direction, _ in changes if direction == "add")
    expected = {
        "corpid": "ww1",
        "day": "2026-03-02",
        "follow_userid": "zhangsan",
        "adds": adds,
        "losses_by_employee": losses("employee"),
        "losses_by_customer": losses("customer"),
        "losses_by_transfer": losses("transfer"),
        "losses_other": losses("left", "reconcile"),
        "net": adds - losses("employee", "customer", "transfer", "left", "reconcile"),
    }
    nothing = {name: 0 for name in expected if name.startswith("losses")}
    other = {"corpid": "ww1", "day": "2026-03-02", "follow_userid": "lisi", "adds": 1, "net": 1} | nothing
    assert await seen(db, "v_daily_customer_flow") == sorted(
        [expected, other], key=lambda row: str(row["follow_userid"])
    )


async def test_a_day_is_one_of_china_and_a_corp_is_apart(db: Database) -> None:
    ledger = Ledger(db)
    last, first = datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC), datetime(2026, 3, 1, 16, 0, 0, tzinfo=UTC)
    await ledger.write(ADD, last)
    await ledger.write(DELETE, first)
    await ledger.write(ADD, first, corpid="ww2")
    found = await seen(db, "v_daily_customer_flow", "corpid", "day", "adds", "losses_by_employee", "net")
    assert [tuple(row.values()) for row in found] == [
        ("ww1", "2026-03-01", 1, 0, 1),
        ("ww1", "2026-03-02", 0, 1, -1),
        ("ww2", "2026-03-02", 1, 0, 1),
    ]
    assert [row["day"] for row in await seen(db, "v_event", "day")] == ["2026-03-01", "2026-03-02", "2026-03-02"]


async def test_a_transfer_in_the_spelling_of_earlier_releases(db: Database) -> None:
    """They had no ``detail``, and wrote JSON with blanks."""
    await Ledger(db).write(DELETE, day(12))
    async with db.write() as conn:
        leaves = '[["UserID", "zhangsan"], ["Source", "DELETE_BY_TRANSFER"]]'
        await conn.execute(text(f"UPDATE contact_event SET leaves = '{leaves}'"))
    assert await seen(db, "v_relation_change", "lost_by") == [{"lost_by": "transfer"}]


async def test_ids_differ_by_letter_case_and_blanks(db: Database) -> None:
    ledger = Ledger(db)
    for customer_id in ("wmA", "wma", "wmA "):
        await ledger.write(ADD, day(10), customer_id)
    assert len(await seen(db, "v_relation_change")) == 3


async def test_old_ids_lead_to_the_newest(db: Database) -> None:
    rows = [
        *ALIASES,
        # Renamed and renamed back: only the later change counts.
        {"userid": "there", "new_userid": "back", "happened_at": day(10), "given_at": day(11)},
        {"userid": "back", "new_userid": "there", "happened_at": day(11)},
        # An id that was given to others since, of whom one was renamed too.
        {"userid": "passed", "new_userid": "elsewhere", "happened_at": day(10), "given_at": day(11)},
        {"userid": "passed", "new_userid": "farther", "happened_at": day(11, 30), "given_at": day(12)},
        {"userid": "heir", "new_userid": "passed", "happened_at": day(12)},
        # The same ids in another corp mean nothing here.
        {"corpid": "ww2", "userid": "new", "new_userid": "newer", "happened_at": day(12)},
    ]
    await put(db, employee_alias, *rows)
    names = ("corpid", "userid", "new_userid", "steps", "happened_at", "valid_from", "valid_to")
    found = await seen(db, "v_employee_alias", *names)
    always = (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), FOREVER)
    assert [tuple(row.values()) for row in found] == [
        ("ww1", "back", "there", 1, day(11), *always),
        ("ww1", "first", "third", 2, day(11, 30), *always),
        ("ww1", "heir", "passed", 1, day(12), *always),
        ("ww1", "old", "new", 1, day(10, 30), *always),
        ("ww1", "passed", "elsewhere", 1, day(10), always[0], day(11)),
        ("ww1", "passed", "farther", 1, day(11, 30), day(11), day(12)),
        ("ww1", "second", "third", 1, day(11, 30), *always),
        ("ww2", "new", "newer", 1, day(12), *always),
    ]


async def test_an_id_that_others_had_means_each_in_turn(db: Database) -> None:
    """Renamed at 11, and the next who got the id at 12 was renamed at 13; since 14 it is a third one's."""
    await put(
        db,
        employee_alias,
        {"userid": "id", "new_userid": "one", "happened_at": day(11), "given_at": day(12)},
        {"userid": "id", "new_userid": "two", "happened_at": day(13), "given_at": day(14)},
    )
    turns = [(day(10), "one"), (day(12), "two"), (day(13, 30), "two"), (day(14), "id"), (day(15), "id")]
    ledger = Ledger(db)
    for number, (moment, _) in enumerate(turns):
        name = f"wm{number}"
        await ledger.write(ADD, moment, name, "id")
        keys = {"userid": name, "follow_userid": "id", "source": "view", "oper_userid": "ID"}
        follow = keys | {"createtime": seconds(moment)}
        await put(db, HISTORY["customer_follow"], follow | {"valid_from": moment})
        # Known late.
        event = {"source": "event", "valid_from": day(16), "happened_at": moment, "createtime": seconds(day(16))}
        await put(db, HISTORY["customer_follow"], keys | event | {"userid": f"{name}late"})
        tags = {name: value for name, value in keys.items() if name != "oper_userid"}
        await put(db, HISTORY["customer_follow_tag"], tags | {"tag_key": "t1", "valid_from": moment})
        member = {"chat_id": name, "type": 1, "userid": "x", "invitor": "id", "source": "view", "valid_from": moment}
        await put(db, HISTORY["group_chat_member"], member)
        await put(db, customer, {"userid": name})
        await put(
            db,
            customer_follow,
            {"userid": name, "follow_userid": "id", "oper_userid": "ID", "createtime": seconds(moment)},
        )
    expected = [name for _, name in turns]
    for view, column in (
        ("v_event", "follow_userid"),
        ("v_customer_follow_tag_history", "follow_userid"),
        ("v_customer_follow", "oper_userid"),
    ):
        found = await seen(db, view, "external_userid", column)
        assert [row[column].lower() for row in found] == expected, view
    found = await seen(db, "v_group_chat_member_history", "chat_id", "invitor")
    assert [row["invitor"] for row in found] == expected
    found = await seen(db, "v_customer_follow_history", "external_userid", "follow_userid", "oper_userid")
    assert [row["follow_userid"] for row in found] == [name for name in expected for _ in range(2)]
    assert [row["oper_userid"].lower() for row in found[::2]] == expected
    # A row that stands is the present owner's.
    changes = await seen(db, "v_relation_change", "external_userid", "follow_userid", where="userid NOT LIKE '%late'")
    assert {tuple(row.values()) for row in changes} == {
        *((f"wm{number}", name) for number, name in enumerate(expected)),
        *((f"wm{number}", "id") for number in range(len(turns))),
    }


async def test_a_customer_with_those_who_have_it(db: Database) -> None:
    await put(
        db,
        customer,
        *({"userid": "wmA", "name": "Lin", "external_profile": {"a": 1}}, {"userid": "wmLost"}, {"userid": "wmNew"}),
        {"corpid": "ww2", "userid": "wmA"},
    )
    await put(
        db,
        customer_follow,
        {"userid": "wmA", "follow_userid": "a", "createtime": seconds(day(12)), "last_add_at": day(12, 0, 1)},
        {"userid": "wmA", "follow_userid": "b", "createtime": seconds(day(10)), "lost_at": day(13), "lost_by": "left"},
        {"userid": "wmLost", "follow_userid": "a", "lost_at": day(11), "lost_by": "customer"},
        {"userid": "wmLost", "follow_userid": "b", "lost_at": day(14), "lost_by": "employee"},
        {"corpid": "ww2", "userid": "wmA", "follow_userid": "a"},
    )
    await put(
        db,
        HISTORY["customer_follow"],
        {"userid": "wmA", "follow_userid": "a", "valid_from": day(9), "createtime": seconds(day(9)), "source": "event"},
    )
    names = ("relations", "standing_relations", "lost_by_all", "first_added_at", "last_added_at", "last_lost_at")
    found = await seen(db, "v_customer", "corpid", "external_userid", *names)
    assert [tuple(row.values()) for row in found] == [
        ("ww1", "wmA", 2, 1, 0, day(9), day(12, 0, 1), day(13)),
        ("ww1", "wmLost", 2, 0, 1, None, None, day(14)),
        ("ww1", "wmNew", 0, 0, 0, None, None, None),
        ("ww2", "wmA", 1, 1, 0, None, None, None),
    ]


async def test_what_began_at_no_moment_did_not_begin_in_1970(db: Database) -> None:
    await put(db, customer, {"userid": "wmA"}, {"userid": "wmB"})
    await put(
        db,
        customer_follow,
        {"userid": "wmA", "follow_userid": "a", "createtime": 0, "last_add_at": day(10)},
        *({"userid": "wmB", "follow_userid": member, "createtime": told} for member, told in (("a", 0), ("b", None))),
    )
    version = {"follow_userid": "a", "createtime": 0, "source": "event", "valid_from": day(11)}
    await put(db, HISTORY["customer_follow"], *({"userid": userid} | version for userid in ("wmA", "wmB")))
    await put(db, group_chat, {"chat_id": "wr1", "create_time": 0})
    added = await seen(db, "v_customer", "external_userid", "first_added_at", "last_added_at")
    assert [tuple(row.values()) for row in added] == [("wmA", day(10), day(10)), ("wmB", None, None)]
    assert {row["added_at"] for row in await seen(db, "v_customer_follow", "added_at")} == {None}
    assert await seen(db, "v_group_chat", "created_at") == [{"created_at": None}]
    assert await seen(db, "v_relation_change") == []


async def test_a_relation_with_names_and_masked_numbers(db: Database) -> None:
    numbers = {
        "a": (None, None),
        "b": ([], ""),
        "c": (["13800000001"], "138****0001"),
        "d": (["13800000001", "+8613900000002", "010-8888"], "138****0001, +86****0002, ****88"),
        "e": (
            ["", "1", "123456", "1234567", "1234567890", "小明13800000001🙂"],
            ", ****, ****, ****67, ****90, 小明1****001🙂",
        ),
    }
    await put(db, customer, {"userid": "wmA", "name": "Lin"})
    await put(
        db,
        customer_follow,
        *(
            {"userid": "wmA", "follow_userid": member, "remark_mobiles": listed}
            | {"lost_at": day(10) if member == "a" else None, "createtime": seconds(day(9)) if member == "b" else None}
            for member, (listed, _) in numbers.items()
        ),
    )
    await put(db, employee, {"userid": "b", "name": "李四"})
    names = ("follow_userid", "remark_mobiles", "standing", "added_at", "customer_name", "employee_name")
    found = {row["follow_userid"]: row for row in await seen(db, "v_customer_follow", *names)}
    assert {member: row["remark_mobiles"] for member, row in found.items()} == {
        member: masked for member, (_, masked) in numbers.items()
    }
    assert {member: row["standing"] for member, row in found.items()} == {"a": 0, "b": 1, "c": 1, "d": 1, "e": 1}
    assert (found["b"]["added_at"], found["b"]["employee_name"], found["b"]["customer_name"]) == (day(9), "李四", "Lin")
    assert (found["c"]["added_at"], found["c"]["employee_name"]) == (None, None)


async def test_tags_of_standing_relations_under_their_newest_names(db: Database) -> None:
    await put(db, customer, {"userid": "wmA"})
    await put(
        db,
        customer_follow,
        {"userid": "wmA", "follow_userid": "a"},
        {"userid": "wmA", "follow_userid": "b", "lost_at": day(10), "lost_by": "employee"},
    )
    read = {"group_name": "Level", "tag_name": "VIP"}
    await put(
        db,
        customer_follow_tag,
        *(
            {"userid": "wmA", "follow_userid": member, "tag_key": "t1", "tag_id": "t1", "type": 1} | read
            for member in "ab"
        ),
        {"userid": "wmA", "follow_userid": "a", "tag_key": "t2", "tag_id": "t2", "type": 1} | read,
        {
            "userid": "wmA",
            "follow_userid": "a",
            "tag_key": "personal:1",
            "type": 2,
            "group_name": "Mine",
            "tag_name": "tea",
        },
    )
    await put(db, tag_group, {"group_id": "g1", "group_name": "Rank"})
    # t2 is known from an event only, and has no name yet.
    await put(db, tag, {"tag_id": "t1", "group_id": "g1", "tag_name": "very important"}, {"tag_id": "t2"})
    found = await seen(db, "v_customer_tag", "follow_userid", "tag_key", "group_id", "group_name", "tag_name")
    assert [tuple(row.values()) for row in found] == [
        ("a", "personal:1", None, "Mine", "tea"),
        ("a", "t1", "g1", "Rank", "very important"),
        ("a", "t2", None, "Level", "VIP"),
    ]


async def test_what_an_employee_has_gained_and_lost(db: Database) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    lately, before = now - timedelta(days=29), now - timedelta(days=31)
    await put(db, customer, *({"userid": name} for name in ("wm1", "wm2", "wm3", "wm4", "wm5")))

    def follow(number: int, since: datetime | None = None, member: str = "a", **more: Any) -> dict[str, Any]:
        began = None if since is None else seconds(since)
        return {"userid": f"wm{number}", "follow_userid": member, "createtime": began} | more

    await put(
        db,
        customer_follow,
        follow(1, lately),
        follow(2, before, unseen_since=lately),
        follow(3, before, lost_at=lately, lost_by="customer"),
        follow(4, lately, lost_at=lately, lost_by="employee"),
        follow(5, before, lost_at=before, lost_by="customer"),
        follow(5, None, "stranger"),
    )
    tags = [{"userid": f"wm{n}", "follow_userid": "a", "tag_key": key} for n, key in ((1, "t1"), (1, "t2"), (3, "t1"))]
    await put(db, customer_follow_tag, *tags)
    await put(db, department, {"department_id": 7, "name": "Sales"})
    await put(
        db,
        employee,
        {"userid": "a", "name": "Anna", "main_department": 7},
        {"userid": "gone", "left_at": lately, "gone_at": lately},
    )
    assert [tuple(row.values()) for row in await seen(db, "v_employee_portfolio")] == [
        ("ww1", "a", "Anna", 7, "Sales", 1, 2, 1, 1, 2, 2, 1, 3),
        ("ww1", "gone", None, None, None, 0, 0, 0, 0, 0, 0, 0, 0),
        ("ww1", "stranger", None, None, None, 1, 1, 0, 0, 0, 0, 0, 0),
    ]


async def test_who_is_in_a_group_and_how_many_events_never_came(db: Database) -> None:
    await put(db, group_chat, {"chat_id": "wr1", "owner": "a", "create_time": seconds(day(9))}, {"chat_id": "wr2"})
    await put(db, group_chat, {"chat_id": "wr3", "dismissed_at": day(10), "gone_at": day(11)})
    await put(db, employee, {"userid": "a", "name": "Anna"})
    await put(db, customer, *({"userid": name} for name in ("wm1", "wm2", "a")))
    await put(
        db,
        customer_follow,
        *({"userid": "wm1", "follow_userid": member} for member in ("a", "b")),
        {"userid": "wm2", "follow_userid": "a", "lost_at": day(10), "lost_by": "customer"},
        # A customer with the id of an employee is still another one.
        {"userid": "a", "follow_userid": "b"},
    )
    members = [(1, "a"), (1, "b"), (2, "wm1"), (2, "wm2"), (2, "wmStranger")]
    await put(db, group_chat_member, *({"chat_id": "wr1", "type": kind, "userid": who} for kind, who in members))
    links = [("v1", "v2"), ("v2", "v3"), ("v4", "v5"), ("v7", "v8"), ("v8", "v9")]
    await put(
        db,
        group_chat_version,
        *({"chat_id": "wr1", "last_mem_ver": last, "cur_mem_ver": current} for last, current in links),
        # Another group's versions mean nothing to this one.
        {"chat_id": "wr2", "last_mem_ver": "v3", "cur_mem_ver": "v4"},
        {"chat_id": "wr2", "last_mem_ver": "v4", "cur_mem_ver": "v6"},
    )
    names = ("chat_id", "owner_name", "created_at", "present", "members", "employees", "outsiders", "customers")
    assert [tuple(row.values()) for row in await seen(db, "v_group_chat", *names, "lost_events")] == [
        ("wr1", "Anna", day(9), 1, 5, 2, 3, 1, 2),
        ("wr2", None, None, 1, 0, 0, 0, 0, 0),
        ("wr3", None, None, 0, 0, 0, 0, 0, 0),
    ]


async def test_events_without_their_documents(db: Database) -> None:
    ledger = Ledger(db)
    await put(db, employee_alias, ALIASES[0])
    await put(db, employee, {"userid": "new", "name": "Anna"})
    await ledger.write(DELETE, day(10), member="old", detail="DELETE_BY_TRANSFER")
    await ledger.write("update", day(11), "wr1", None, event="change_external_chat", kind="chat", detail="add_member")
    names = ("change_type", "external_userid", "object_id", "follow_userid", "told_userid", "employee_name", "detail")
    assert [tuple(row.values()) for row in await seen(db, "v_event", *names)] == [
        (DELETE, "wmA", "wmA", "new", "old", "Anna", "DELETE_BY_TRANSFER"),
        ("update", None, "wr1", None, None, None, "add_member"),
    ]
    assert "leaves" not in COLUMNS["v_event"]


async def test_how_current_everything_is(db: Database) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    ago = [now - timedelta(hours=hours) for hours in range(6)]
    await Ledger(db).write(ADD, ago[2], received_at=ago[1])
    await Ledger(db).write(ADD, ago[3], event_id="older")
    await put(
        db,
        customer,
        {"userid": "wm1", "fetched_at": ago[4]},
        {"userid": "wm2", "fetched_at": ago[3]},
        {"userid": "wm3"},
        *({"userid": "wm4", "gone_at": ago[1]}, {"userid": "wm5", "gone_at": ago[1], "fetched_at": ago[5]}),
    )
    await put(
        db,
        customer_follow,
        {"userid": "wm1", "follow_userid": "a", "fetched_at": ago[4], "unseen_since": ago[3]},
        {"userid": "wm2", "follow_userid": "a"},
        {"userid": "wm3", "follow_userid": "a", "lost_at": ago[1], "lost_by": "employee"},
    )
    await put(db, employee, {"userid": "a"}, {"userid": "b", "left_at": ago[1]}, {"userid": "c", "fetched_at": ago[1]})
    await put(db, group_chat, {"chat_id": "wr1"}, {"chat_id": "wr2", "dismissed_at": ago[1]})
    waiting = {"version": 1, "due_at": now, "events": 1, "attempts": 0, "kind": "customer"}
    await put(
        db,
        pending_read,
        waiting | {"object_id": "wm1", "stage": "first", "wanted_at": ago[1]},
        waiting | {"object_id": "wm2", "stage": "unseen", "wanted_at": ago[2]},
        waiting | {"object_id": "wm3", "stage": "recheck", "wanted_at": ago[5]},
    )
    letter = {"log_id": "l", "partition": 0, "reason": "r", "payload": b"x"}
    await put(db, dead_letter, letter | {"position": 1}, letter | {"position": 2, "resolved_at": now})
    found = {row.pop("corpid"): row for row in await seen(db, "v_freshness")}
    ages = {name: found["ww1"].pop(name) for name in list(found["ww1"]) if name.endswith("_seconds")}
    assert found["ww1"] == {
        "name": "ww1",
        "newest_event_at": ago[2],
        "newest_received_at": ago[1],
        "waiting_reads": 2,
        "oldest_wait_at": ago[2],
        "rechecks": 1,
        "customers_never_read": 1,
        "relations_never_read": 1,
        "employees_never_read": 1,
        "groups_never_read": 1,
        "oldest_snapshot_at": ago[4],
        "doubtful_relations": 1,
        "dead_letters": 1,
        "reconciled_at": None,
    }
    for name, hours in (("newest_event", 2), ("oldest_wait", 2), ("oldest_snapshot", 4)):
        assert hours * 3600 <= ages[f"{name}_seconds"] < hours * 3600 + 600, name
    nothing = {name: None if name.endswith(("_at", "_seconds")) else 0 for name in found["ww2"]}
    assert found["ww2"] == nothing | {"name": "ww2"}


async def test_a_table_as_it_was_at_any_moment(db: Database) -> None:
    await put(
        db,
        HISTORY["customer"],
        {"userid": "wmA", "valid_from": day(10), "valid_to": day(11), "name": "first", "source": "event"},
        {"userid": "wmA", "valid_from": day(11), "valid_to": None, "name": "second", "source": "view"},
    )
    for moment, names in (
        (day(9, 59), []),
        (day(10), ["first"]),
        (day(10, 59, 59), ["first"]),
        (day(11), ["second"]),
        (day(23), ["second"]),
    ):
        then = moment.strftime("%Y-%m-%d %H:%M:%S.%f" + ("+00" if db.dialect == "postgresql" else ""))
        found = await seen(db, "v_customer_history", "name", where=f"'{then}' >= valid_from AND '{then}' < valid_to")
        assert [row["name"] for row in found] == names, moment
    assert [row["valid_to"] for row in await seen(db, "v_customer_history", "valid_to")] == [day(11), FOREVER]


async def test_every_table_with_history_can_be_asked_as_of_then() -> None:
    for table in HISTORY.values():
        hidden = {"external_profile"} if table.name == "customer_history" else set()
        named = {"external_userid"} if table.name.startswith("customer") else set()
        named |= {"known_userid"} if "follow_userid" in table.c else set()
        assert set(COLUMNS[f"v_{table.name}"]) == {column.name for column in table.columns} - hidden | named


async def test_history_counts_for_the_employee_of_today(db: Database) -> None:
    await put(db, employee_alias, ALIASES[0])
    keys = {"userid": "wmA", "follow_userid": "old", "valid_from": day(10), "source": "event"}
    await put(db, HISTORY["customer_follow"], keys)
    await put(db, HISTORY["customer_follow_tag"], keys | {"tag_key": "t1"})
    for view in ("v_customer_follow_history", "v_customer_follow_tag_history"):
        assert await seen(db, view, "follow_userid", "known_userid") == [
            {"follow_userid": "new", "known_userid": "old"}
        ], view


async def test_masks_are_in_the_history_too(db: Database) -> None:
    version = {"valid_from": day(10), "source": "event"}
    relation = {"userid": "wmA", "follow_userid": "a", "remark_mobiles": ["13800000001"]}
    await put(db, HISTORY["customer_follow"], version | relation)
    await put(db, HISTORY["employee"], version | {"userid": "a", "mobile": "13800000002", "telephone": "0755-8888"})
    (row,) = await seen(db, "v_customer_follow_history", "remark_mobiles")
    assert row == {"remark_mobiles": "138****0001"}
    (row,) = await seen(db, "v_employee_history", "mobile", "telephone")
    assert row == {"mobile": "138****0002", "telephone": "****88"}
