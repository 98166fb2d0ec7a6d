"""The comparison can fail: every single wrong row or column is counted, once and in the right place."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.db.engine import Database
from sync.facts import Facts
from sync.objects.base import Answer
from sync.objects.customers import write_answers, write_facts
from tests.support.comparing import tell_again
from tests.support.crm import a_customer, a_follow, corp_tag, crm_database, day, personal_tag
from wecom.simulator.truth import Truth
from wecom_crm.comparison import CUSTOMER_COLUMNS, FOLLOW_COLUMNS, Report, compare

pytestmark = pytest.mark.asyncio

VIP = {"type": 1, "tag_id": "t1", "group_name": "Level", "tag_name": "VIP"}
MINE = {"type": 2, "tag_id": None, "group_name": "Mine", "tag_name": "tea"}
SHOWN = a_customer(
    a_follow(
        *("zhangsan",),
        tags=(corp_tag("t1"), personal_tag("tea")),
        remark_mobiles=("138", "139"),
        state="shop",
        wechat_channels={"source": 1},
    ),
    a_follow("lisi", remark=""),
    name="Lin",
    gender=2,
    external_profile={"external_attr": [1, 2]},
)
LISTED = {name: getattr(SHOWN.follows[0], name) for name in FOLLOW_COLUMNS} | {"remark_mobiles": ["138", "139"]}
OTHER = {name: getattr(SHOWN.follows[1], name) for name in FOLLOW_COLUMNS} | {"remark_mobiles": []}

TRUTH = Truth(
    customers={("ww1", "wmA"): {name: getattr(SHOWN, name) for name in CUSTOMER_COLUMNS}, ("ww1", "wmGone"): None},
    relations={
        ("ww1", "wmA", "zhangsan"): LISTED,
        ("ww1", "wmA", "lisi"): OTHER,
        ("ww1", "wmGone", "zhangsan"): None,
    },
    endings={
        ("ww1", "wmA", "zhangsan"): (None, None),
        ("ww1", "wmA", "lisi"): (int(day(12).timestamp()), "customer"),
        ("ww1", "wmGone", "zhangsan"): (int(day(13).timestamp()), "employee"),
    },
    tags={("ww1", "wmA", "zhangsan", "t1"): VIP, ("ww1", "wmA", "zhangsan", "Mine/tea"): MINE},
)


class Tables:
    """The tables as sync wrote them, and a way to spoil them."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self._path = path

    def spoil(self, statement: str) -> None:
        """Change exactly one row, past the foreign keys, and let the history say the same."""
        with sqlite3.connect(self._path) as conn:
            assert conn.execute(statement).rowcount == 1
            for table in ("customer", "customer_follow", "customer_follow_tag"):
                tell_again(conn, table)
        conn.close()

    def spoil_history(self, statement: str) -> None:
        """Change exactly one version."""
        with sqlite3.connect(self._path) as conn:
            assert conn.execute(statement).rowcount == 1
        conn.close()

    async def report(self, truth: Truth = TRUTH) -> Report:
        return await compare(self.database, truth)


@pytest_asyncio.fixture
async def tables(tmp_path: Path) -> AsyncIterator[Tables]:
    async with crm_database(tmp_path, employees=()) as database:
        async with database.write() as conn:
            facts = {
                ("wmA", "zhangsan"): Facts(add_at=day(10)),
                ("wmA", "lisi"): Facts(day(10), day(12), "customer"),
                ("wmGone", "zhangsan"): Facts(day(10), day(13), "employee"),
            }
            await write_facts(conn, database.dialect, "ww1", facts, day(14))
            before = a_customer(a_follow(tags=(corp_tag("t1"),)), userid="wmGone")
            for answers in (
                [Answer("wmGone", day(12), before)],
                [Answer("wmA", day(15), SHOWN), Answer("wmGone", day(15), None)],
            ):
                await write_answers(conn, database.dialect, "ww1", answers, day(15))
        yield Tables(database, tmp_path / "crm.sqlite")


async def test_true_tables_are_equal(tables: Tables) -> None:
    report = await tables.report()
    assert report.equal
    assert str(report) == "missing 0, spurious 0, differing 0"
    # The tags of a relation that is listed no more are as they were read last, and are not counted.
    assert (report.customers, report.relations, report.tags) == (2, 3, 2)


CUSTOMER = "customer WHERE userid = 'wmA'"
FOLLOW = "customer_follow WHERE userid = 'wmA' AND follow_userid = 'zhangsan'"
TAG = "customer_follow_tag WHERE tag_id = 't1' AND userid = 'wmA'"


@pytest.mark.parametrize("row", [CUSTOMER, FOLLOW, TAG], ids=lambda row: row.split()[0])
async def test_a_removed_row_is_missing(tables: Tables, row: str) -> None:
    tables.spoil(f"DELETE FROM {row}")
    assert str(await tables.report()) == "missing 1, spurious 0, differing 0"


@pytest.mark.parametrize(
    ("row", "column"), [(CUSTOMER, "name"), (FOLLOW, "remark"), (TAG, "tag_name")], ids=lambda one: one.split()[0]
)
async def test_a_history_that_says_something_else_differs(tables: Tables, row: str, column: str) -> None:
    table, _, condition = row.partition(" ")
    tables.spoil_history(f"UPDATE {table}_history SET {column} = 'wrong' {condition} AND valid_to IS NULL")
    report = await tables.report()
    assert str(report) == "missing 0, spurious 0, differing 1"
    assert report.differing[0][0] == f"{table}_history"


NEW_CUSTOMER = "customer (corpid, userid, first_seen_at)"
NEW_FOLLOW = "customer_follow (corpid, userid, follow_userid)"
NEW_TAG = "customer_follow_tag (corpid, userid, follow_userid, tag_key, type, tag_id, group_name, tag_name)"


@pytest.mark.parametrize(
    ("row", "values"),
    [
        (NEW_CUSTOMER, "'ww1', 'wmX', '2026-03-02 10:00:00.000000'"),
        (NEW_CUSTOMER, "'ww2', 'wmA', '2026-03-02 10:00:00.000000'"),
        (NEW_FOLLOW, "'ww1', 'wmA', 'wangwu'"),
        (NEW_TAG, "'ww1', 'wmA', 'zhangsan', 't2', 1, 't2', 'Level', 'VIP'"),
        (NEW_TAG, "'ww1', 'wmA', 'lisi', 't1', 1, 't1', 'Level', 'VIP'"),
        # Of a relation that nobody knows, and a second row of one personal tag.
        (NEW_TAG, "'ww1', 'wmA', 'nobody', 't1', 1, 't1', 'Level', 'VIP'"),
        (NEW_TAG, "'ww1', 'wmA', 'zhangsan', 'personal:other', 2, NULL, 'Mine', 'tea'"),
    ],
)
async def test_an_added_row_is_spurious(tables: Tables, row: str, values: str) -> None:
    tables.spoil(f"INSERT INTO {row} VALUES ({values})")
    report = await tables.report()
    assert str(report) == "missing 0, spurious 1, differing 0"


WRONG = {
    "createtime": "1",
    "add_way": "99",
    "type": "7",
    "gender": "1",
    "external_profile": "'{\"external_attr\": [2, 1]}'",
    "remark_mobiles": '\'["139", "138"]\'',
    "wechat_channels": "'{}'",
    "lost_at": "'2026-03-02 10:00:00.000000'",
    "gone_at": "'2026-03-02 10:00:00.000000'",
    "unseen_since": "'2026-03-02 10:00:00.000000'",
}
CHANGES = [
    *((CUSTOMER, column) for column in (*CUSTOMER_COLUMNS, "gone_at")),
    *((FOLLOW, column) for column in (*FOLLOW_COLUMNS, "lost_at", "lost_by", "unseen_since")),
    *((TAG, column) for column in ("type", "group_name", "tag_name", "tag_id")),
]


@pytest.mark.parametrize(("row", "column"), CHANGES)
async def test_a_changed_column_is_one_differing_row(tables: Tables, row: str, column: str) -> None:
    table, _, condition = row.partition(" ")
    tables.spoil(f"UPDATE {table} SET {column} = {WRONG.get(column, repr('wrong'))} {condition}")
    assert str(await tables.report()) == "missing 0, spurious 0, differing 1"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (CUSTOMER, "name"),
        (CUSTOMER, "external_profile"),
        (FOLLOW, "remark"),
        (FOLLOW, "remark_mobiles"),
        (TAG, "tag_name"),
    ],
)
async def test_nothing_where_something_should_be_differs(tables: Tables, row: str, column: str) -> None:
    table, _, condition = row.partition(" ")
    tables.spoil(f"UPDATE {table} SET {column} = NULL {condition}")
    assert str(await tables.report()) == "missing 0, spurious 0, differing 1"


async def test_an_empty_text_is_not_the_same_as_nothing(tables: Tables) -> None:
    tables.spoil("UPDATE customer_follow SET remark = NULL WHERE follow_userid = 'lisi'")
    assert str(await tables.report()) == "missing 0, spurious 0, differing 1"


@pytest.mark.parametrize(
    "change",
    [
        "lost_at = NULL, lost_by = NULL",
        "lost_by = 'customer'",
        "lost_at = '2026-03-02 13:00:01.000000'",
        "lost_at = '2026-03-02 13:00:00.500000'",
    ],
)
async def test_an_ending_is_compared_also_where_the_platform_shows_nothing(tables: Tables, change: str) -> None:
    tables.spoil(f"UPDATE customer_follow SET {change} WHERE userid = 'wmGone'")
    assert str(await tables.report()) == "missing 0, spurious 0, differing 1"


async def test_a_tag_under_a_wrong_key_is_no_tag(tables: Tables) -> None:
    tables.spoil("UPDATE customer_follow_tag SET tag_key = 'wrong' WHERE tag_id = 't1' AND userid = 'wmA'")
    assert str(await tables.report()) == "missing 1, spurious 1, differing 0"


async def test_a_corp_tag_that_lost_its_id_is_no_personal_tag(tables: Tables) -> None:
    tables.spoil("UPDATE customer_follow_tag SET tag_id = NULL WHERE tag_id = 't1' AND userid = 'wmA'")
    assert str(await tables.report()) == "missing 1, spurious 1, differing 0"


def without(rows: Any, key: tuple[str, ...]) -> dict[Any, Any]:
    return {name: row for name, row in rows.items() if name != key}


@pytest.mark.parametrize(
    "truth",
    [
        pytest.param(
            replace(TRUTH, customers={**TRUTH.customers, ("ww1", "wmA"): {"name": "Lin"}}), id="a column less"
        ),
        pytest.param(replace(TRUTH, relations={**TRUTH.relations, ("ww1", "wmA", "lisi"): {}}), id="no column"),
        pytest.param(replace(TRUTH, endings=without(TRUTH.endings, ("ww1", "wmA", "lisi"))), id="no ending"),
        pytest.param(replace(TRUTH, customers=without(TRUTH.customers, ("ww1", "wmA"))), id="no customer"),
        pytest.param(replace(TRUTH, customers={**TRUTH.customers, ("ww1", "wmA"): None}), id="customer not shown"),
        pytest.param(
            replace(TRUTH, relations={**TRUTH.relations, ("ww1", "wmA", "zhangsan"): None}), id="tag unlisted"
        ),
    ],
)
async def test_a_truth_that_would_compare_less_is_refused(tables: Tables, truth: Truth) -> None:
    with pytest.raises(ValueError, match="the truth"):
        await tables.report(truth)
