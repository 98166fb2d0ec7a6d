"""The comparison of employees, departments, tags and groups can fail, too, and that of every history with its table."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.db.engine import Database
from core.db.tables import HISTORY, metadata
from tests.support.comparing import PLACES, tell_again, write_truth
from tests.support.crm import crm_database
from tests.support.simulators import Clock, tiny_world
from wecom.simulator.state import Place
from wecom.simulator.truth import Truth, truth_of
from wecom.simulator.world import World
from wecom_crm.comparison import Report, compare

pytestmark = pytest.mark.asyncio

OBJECTS = {name: table for name, (table, _) in PLACES.items()}


def a_world() -> World:
    """With one of everything that is there, and one of everything that is no more."""
    clock = Clock()
    world = tiny_world(clock, "ww1")
    world.create_department("ww1", "Sales", leaders=["LiSi"])
    world.create_department("ww1", "East")
    world.create_employee("ww1", "Chen", "Chen", departments=[Place(2, 5, True)], leaders=["LiSi"])
    world.create_employee("ww1", "Gone", "Gone")
    for name in ("night", "day"):
        world.create_member_tag("ww1", name)
        world.update_member_tag("ww1", len(world.corp("ww1").member_tags), add_users=["LiSi"])
    world.create_tag_group("ww1", "Fair", ["hot"])
    world.create_tag_group("ww1", "Old", ["cold"])
    chats = [world.create_chat("ww1", owner, members=["wmA"]).object_id for owner in ("LiSi", "Chen")]
    world.join_chat("ww1", chats[0], ["woB", "wangwu"], state="shop")
    clock.tick()
    world.rename_employee("ww1", "Chen", "Chen.Yi")
    world.delete_department("ww1", 3)
    world.delete_employee("ww1", "Gone")
    world.delete_member_tag("ww1", 2)
    world.delete_tag_group("ww1", "Old")
    world.dismiss_chat("ww1", chats[1])
    return world


TRUTH = truth_of(a_world())


class Tables:
    """The tables, and ways to spoil them."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self._path = path

    def spoil(self, statement: str, *, table: str | None = None) -> None:
        """Change one row, past the foreign keys; the history of ``table`` says the same then."""
        with sqlite3.connect(self._path) as conn:
            assert conn.execute(statement).rowcount == 1, statement
            if table in HISTORY:
                tell_again(conn, table)
        conn.close()

    def number(self, table: str) -> int:
        with sqlite3.connect(self._path) as conn:
            (number,) = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
        conn.close()
        return int(number)

    async def report(self, truth: Truth = TRUTH) -> Report:
        return await compare(self.database, truth)

    async def wrong(self, truth: Truth = TRUTH) -> tuple[set[str], set[str], set[str]]:
        """Tables with rows that are missing, spurious, differing; each row is one."""
        report = await self.report(truth)
        found = (report.missing, report.spurious, report.differing)
        assert sum(map(len, found)) == 1, report
        missing, spurious, differing = ({key[0] for key in keys} for keys in found)
        return missing, spurious, differing


@pytest_asyncio.fixture
async def tables(tmp_path: Path) -> AsyncIterator[Tables]:
    async with crm_database(tmp_path, employees=()) as database:
        async with database.write() as conn:
            await write_truth(conn, TRUTH)
        yield Tables(database, tmp_path / "crm.sqlite")


async def test_true_tables_are_equal(tables: Tables) -> None:
    report = await tables.report()
    assert (report.missing, report.spurious, report.differing) == ([], [], [])
    assert report.equal
    for table in OBJECTS.values():
        assert report.counts[table] == tables.number(table) > 0
    assert {f"{name}_history" for name in HISTORY} < report.counts.keys()
    assert report.counts["employee_history"] == 2


async def test_an_id_that_was_given_away_is_nobodys_old_one(tables: Tables) -> None:
    tables.spoil("UPDATE employee_alias SET given_at = merged_at")
    assert await tables.wrong() == ({"employee_alias"}, set(), set())


@pytest.mark.parametrize("field", [one.name for one in fields(Truth)][4:])
async def test_every_field_of_the_truth_is_compared(tables: Tables, field: str) -> None:
    """A row less in the truth is one too many in the tables."""
    rows = dict(getattr(TRUTH, field))
    hung_on = {"employees": 0, "employee_tags": 1, "group_chats": 0}
    key = sorted(rows)[hung_on.get(field, 0)]
    if field in hung_on:
        key = next(one for one, row in sorted(rows.items()) if row is None)
    del rows[key]
    missing, spurious, differing = await tables.wrong(replace(TRUTH, **{field: rows}))
    assert (missing, spurious, differing) == (set(), {OBJECTS[field]}, set())


LIVING = {
    "employee": "userid = 'chen.yi'",
    "employee_department": "userid = 'chen.yi'",
    "employee_alias": "userid = 'chen'",
    "department": "department_id = 2",
    "employee_tag": "tagid = 1",
    "employee_tag_member": "tagid = 1",
    "tag_group": "group_name = 'Fair'",
    "tag": "tag_name = 'hot'",
    "group_chat": "owner = 'lisi'",
    "group_chat_member": "userid = 'woB'",
    "group_chat_version": "1 = 1",
}


@pytest.mark.parametrize("table", LIVING)
async def test_a_removed_row_is_missing(tables: Tables, table: str) -> None:
    tables.spoil(f"DELETE FROM {table} WHERE {LIVING[table]}", table=table)
    assert await tables.wrong() == ({table}, set(), set())


# ``given_at`` makes the row none that is expected: see above.
_NOT_COMPARED = {"first_seen_at", "happened_at", "given_at", "fetched_at", "last_create_at", "last_delete_at"}
COLUMNS = [
    (table, column.name)
    for table in LIVING
    for column in metadata.tables[table].columns
    if not column.primary_key and column.name not in _NOT_COMPARED
]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
async def test_a_changed_column_is_one_differing_row(tables: Tables, table: str, column: str) -> None:
    value: object = f"'{'2026-03-02 10:00:00.000000' if column.endswith('_at') else 'wrong'}'"
    if column == "merged_at":
        value = "NULL"
    elif str(metadata.tables[table].c[column].type) in {"INTEGER", "BIGINT"}:
        value = 777
    elif str(metadata.tables[table].c[column].type) == "JSON":
        value = "'[\"nobody\"]'"
    tables.spoil(f"UPDATE {table} SET {column} = {value} WHERE {LIVING[table]}", table=table)
    assert await tables.wrong() == (set(), set(), {table})


ENDED = {
    "employee": ("left_at", "userid = 'gone'"),
    "department": ("deleted_at", "department_id = 3"),
    "employee_tag": ("gone_at", "tagid = 2"),
    "tag_group": ("deleted_at", "deleted_at IS NOT NULL"),
    "tag": ("deleted_at", "deleted_at IS NOT NULL"),
    "group_chat": ("dismissed_at", "dismissed_at IS NOT NULL"),
}


@pytest.mark.parametrize("table", ENDED)
async def test_what_is_no_more_has_to_say_so_and_nothing_else(tables: Tables, table: str) -> None:
    ending, row = ENDED[table]
    other = "gone_at" if ending != "gone_at" else "fetched_at"
    # Either of the two will do: what events say, or what reading says.
    tables.spoil(f"UPDATE {table} SET {other} = '2026-03-02 10:00:00.000000' WHERE {row}", table=table)
    assert (await tables.report()).equal
    name = next(iter(metadata.tables[table].primary_key.columns.keys()[1:]))
    tables.spoil(f"UPDATE {table} SET {ending} = NULL WHERE {row}", table=table)
    if other == "gone_at":
        assert (await tables.report()).equal
        tables.spoil(f"UPDATE {table} SET gone_at = NULL WHERE {name} IN ({_ended_key(table)})", table=table)
    assert await tables.wrong() == (set(), set(), {table})


def _ended_key(table: str) -> str:
    field = next(field for field, (name, _) in PLACES.items() if name == table)
    (key,) = [key for key, row in getattr(TRUTH, field).items() if row is None]
    return repr(key[1])


@pytest.mark.parametrize(
    ("table", "columns", "values"),
    [
        ("employee_department", "userid, department_id", "'gone', 1"),
        ("employee_tag_member", "tagid, member_type, member_id", "2, 'user', 'wangwu'"),
    ],
)
async def test_what_hangs_on_something_that_is_no_more_stays(
    tables: Tables, table: str, columns: str, values: str
) -> None:
    tables.spoil(f"INSERT INTO {table} (corpid, {columns}) VALUES ('ww1', {values})", table=table)
    assert (await tables.report()).equal
    living = values.replace("'gone'", "'chen.yi'").replace("2, ", "1, ")
    tables.spoil(f"INSERT INTO {table} (corpid, {columns}) VALUES ('ww1', {living})", table=table)
    assert await tables.wrong() == (set(), {table}, set())


async def test_who_invited_may_be_named_by_the_id_of_then(tables: Tables) -> None:
    key = next(key for key in TRUTH.group_chat_members if key[3] == "woB")
    row = dict(TRUTH.group_chat_members[key]) | {"invitor": "chen.yi"}
    truth = replace(TRUTH, group_chat_members={**TRUTH.group_chat_members, key: row})
    assert await tables.wrong(truth) == (set(), set(), {"group_chat_member"})
    for userid in ("chen", "chen.yi"):
        tables.spoil(
            f"UPDATE group_chat_member SET invitor = '{userid}' WHERE userid = 'woB'", table="group_chat_member"
        )
        assert (await tables.report(truth)).equal


EMPLOYEE = "employee_history WHERE userid = 'lisi'"
HISTORY_OF = "INSERT INTO employee_history (corpid, userid, valid_from, valid_to, source, name) VALUES ('ww1', "


async def test_a_row_without_an_open_version_is_missing(tables: Tables) -> None:
    tables.spoil(f"DELETE FROM {EMPLOYEE.replace('lisi', 'chen.yi')}")
    assert await tables.wrong() == ({"employee_history"}, set(), set())


async def test_an_open_version_without_a_row_is_spurious(tables: Tables) -> None:
    tables.spoil(f"{HISTORY_OF}'nobody', '2026-03-02 10:00:00.000000', NULL, 'event', 'x')")
    assert await tables.wrong() == (set(), {"employee_history"}, set())


@pytest.mark.parametrize("table", [table for table in HISTORY if table in LIVING])
async def test_an_open_version_that_is_not_equal_to_its_row_differs(tables: Tables, table: str) -> None:
    column = {"group_chat_member": "name", "employee_department": "sort_order"}.get(table)
    column = column or next(one.name for one in HISTORY[table].columns if one.name.endswith("name"))
    row = LIVING[table]
    tables.spoil(f"UPDATE {table}_history SET {column} = 777 WHERE {row}")
    assert await tables.wrong() == (set(), set(), {f"{table}_history"})


FIRST, SECOND = "'2026-03-02 08:00:00.000000'", "'2026-03-02 09:00:00.000000'"
NOW = "'2026-03-02 10:00:00.000000'"


@pytest.mark.parametrize(
    ("begin", "end", "source", "fine"),
    [
        pytest.param(FIRST, NOW, "view", True, id="one after the other"),
        pytest.param(FIRST, SECOND, "event", False, id="a gap"),
        pytest.param(FIRST, "'2026-03-02 10:00:00.000001'", "event", False, id="an overlap"),
        pytest.param(FIRST, "NULL", "event", False, id="two open ones"),
        pytest.param("'2026-03-02 12:00:00.000000'", FIRST, "event", False, id="ends before it begins"),
        pytest.param(FIRST, NOW, "hearsay", False, id="an unknown source"),
    ],
)
async def test_versions_follow_one_another(tables: Tables, begin: str, end: str, source: str, fine: bool) -> None:
    tables.spoil(f"{HISTORY_OF}'chen.yi', {begin}, {end}, '{source}', 'before')")
    report = await tables.report()
    assert report.equal is fine
    assert {key[0] for key in report.differing} == (set() if fine else {"employee_history"})


async def test_a_version_that_says_nothing_new_differs(tables: Tables) -> None:
    columns = ", ".join(one.name for one in HISTORY["tag"].columns if one.name not in {"valid_from", "valid_to"})
    tables.spoil(
        f"INSERT INTO tag_history (valid_from, valid_to, {columns}) "
        f"SELECT {FIRST}, {NOW}, {columns} FROM tag_history WHERE tag_name = 'hot'"
    )
    assert await tables.wrong() == (set(), set(), {"tag_history"})


async def test_rows_that_come_and_go_have_gaps(tables: Tables) -> None:
    columns = "corpid, userid, department_id, valid_from, valid_to, source"
    tables.spoil(
        f"INSERT INTO employee_department_history ({columns}) VALUES ('ww1', 'chen.yi', 2, {FIRST}, {SECOND}, 'event')"
    )
    # What was under an id that the employee had before is away from then on, and may come back with somebody else.
    tables.spoil(f"{HISTORY_OF}'chen', {FIRST}, {SECOND}, 'event', 'x')")
    tables.spoil(f"{HISTORY_OF}'chen', {NOW}, '2026-03-02 12:00:00.000000', 'event', 'x')")
    assert (await tables.report()).equal


@pytest.mark.parametrize("field", [one.name for one in fields(Truth)][4:])
async def test_a_truth_that_would_compare_less_is_refused(tables: Tables, field: str) -> None:
    rows: dict[Any, Any] = dict(getattr(TRUTH, field))
    key = next(key for key, row in rows.items() if row is not None)
    column = next(iter(rows[key]), "name")
    wrong = {name: value for name, value in rows[key].items() if name != column} if rows[key] else {"name": "x"}
    with pytest.raises(ValueError, match="the truth about"):
        await tables.report(replace(TRUTH, **{field: rows | {key: wrong}}))


@pytest.mark.parametrize("field", ["employees", "employee_tags", "group_chats"])
async def test_a_truth_with_members_of_nothing_is_refused(tables: Tables, field: str) -> None:
    rows: dict[Any, Any] = dict.fromkeys(getattr(TRUTH, field))
    with pytest.raises(ValueError, match="of something that it does not list"):
        await tables.report(replace(TRUTH, **{field: rows}))
