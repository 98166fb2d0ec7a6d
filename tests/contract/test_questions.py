"""The page of questions: its SQL, word for word, on every database, against two weeks of the simulator.

What is right is worked out here from the simulator's own state and from the journal of what happened in it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.db.engine import Database
from tests.support.days import CORPID, FIRST, Days, Turn, lived
from wecom.simulator.state import Tag

pytestmark = pytest.mark.asyncio

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "ask-the-tables.md"
QUESTION = re.compile(r"^### (\d+)\. (.+?)\n.*?^```sql\n(.+?)^```$", re.MULTILINE | re.DOTALL)
CHANGES = 300
BEFORE = "day < '2026-03-09'"
OUTAGE = (8, 10)
"""Tuesday and Wednesday of the second week, of which this system hears on Thursday."""

Rows = list[tuple[Any, ...]]


def questions() -> dict[int, str]:
    """The SQL of each, by number."""
    return {int(number): statement for number, _, statement in QUESTION.findall(PAGE.read_text(encoding="utf-8"))}


def turns(days: Days, *, ended: bool | None = None, since: str = "2026-03-02") -> list[Turn]:
    """Of the corp: relations that began and ended, or only those that did one of it."""
    mine = [turn for turn in days.turns if turn.corpid == CORPID and turn.day >= since]
    return [turn for turn in mine if ended is None or (turn.lost_by is not None) == ended]


def moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def name_of(days: Days, customer: str) -> str:
    """As a database can hold it."""
    return days.world.corps[CORPID].customers[customer].name.replace("\0", "")


def who_has(days: Days) -> dict[str, list[str]]:
    """Of each customer who had one ever, the employees who have them now."""
    found: dict[str, list[str]] = {}
    for (customer, employee), relation in days.relations().items():
        found.setdefault(customer, []).extend([employee] if relation.stands else [])
    return found


def tags_now(days: Days) -> list[tuple[str, str, Tag]]:
    """Customer, employee and tag, of relations that stand."""
    return [
        (customer, employee, tag)
        for (customer, employee), relation in days.relations().items()
        if relation.stands
        for tag in relation.tags
    ]


def portfolio(days: Days) -> Rows:
    standing = Counter(employee for employees in who_has(days).values() for employee in employees)
    tagged = Counter(employee for _, employee in {(customer, employee) for customer, employee, _ in tags_now(days)})
    names = {userid: employee.name for userid, employee in days.world.corps[CORPID].employees.items()}
    return [(userid, names[userid], number, tagged[userid]) for userid, number in standing.items()]


def lost_last_week(days: Days) -> Rows:
    return [
        (moment(turn.moment), turn.customer, name_of(days, turn.customer), turn.employee, turn.lost_by, *named)
        for turn in turns(days, ended=True, since="2026-03-09")
        for named in ([(tag.group_name, tag.tag_name) for tag in turn.tags] or [(None, None)])
    ]


def flow(days: Days) -> Rows:
    found: dict[str, Counter[str | None]] = defaultdict(Counter)
    for turn in turns(days):
        found[turn.day][turn.lost_by] += 1
    return [
        (day, n[None], n["customer"], n["employee"], n["transfer"], 0, n[None] - n.total() + n[None])
        for day, n in found.items()
    ]


def deleted_by_customers(days: Days) -> Rows:
    deleted = Counter(turn.employee for turn in turns(days, ended=True) if turn.lost_by == "customer")
    adds = Counter(turn.employee for turn in turns(days, ended=False))
    return [(employee, number, adds[employee]) for employee, number in deleted.items()]


def nobodys(days: Days) -> Rows:
    relations = days.relations()
    found = []
    for customer, employees in who_has(days).items():
        ended = [relation.lost_at for (whose, _), relation in relations.items() if whose == customer]
        if not employees:
            latest = max(seconds for seconds in ended if seconds is not None)
            found.append((customer, name_of(days, customer), len(ended), moment(latest)))
    return found


def shared(days: Days) -> Rows:
    began: dict[str, int] = {}
    for turn in turns(days, ended=False):
        began[turn.customer] = min(turn.moment, began.get(turn.customer, turn.moment))
    return [(who, len(have), moment(began[who])) for who, have in who_has(days).items() if len(have) > 1]


def channels(days: Days) -> Rows:
    came = [relation for relation in days.relations().values() if relation.state]
    made, stand = (Counter(r.state for r in came if keep(r)) for keep in (lambda r: True, lambda r: r.stands))
    return [(state, number, stand[state]) for state, number in made.items()]


def tag_usage(days: Days) -> Rows:
    customers, employees = defaultdict(set), defaultdict(set)
    for customer, employee, tag in tags_now(days):
        customers[tag.group_name, tag.tag_name].add(customer)
        employees[tag.group_name, tag.tag_name].add(employee)
    return [(*names, len(who), len(employees[names])) for names, who in customers.items()]


def untagged(days: Days) -> Rows:
    tagged = {customer for customer, _, _ in tags_now(days)}
    return [(customer,) for customer, employees in who_has(days).items() if employees and customer not in tagged]


def handed_over(days: Days) -> Rows:
    have = who_has(days)
    return [
        (turn.day, turn.customer, turn.employee, now)
        for turn in turns(days, ended=True)
        if turn.lost_by == "transfer"
        for now in (have[turn.customer] or [None])
    ]


def returns(days: Days) -> Rows:
    began = Counter((turn.customer, turn.employee) for turn in turns(days, ended=False))
    return [(*pair, number - 1) for pair, number in began.items() if number > 1]


def at_the_end_of_the_first_week(days: Days) -> Rows:
    then = int((FIRST + timedelta(days=7)).timestamp())
    last = max(seconds for seconds in days.standing if seconds <= then)
    return list(Counter(employee for _, employee in days.standing[last][CORPID]).items())


ANSWERS: dict[int, Callable[[Days], Rows]] = dict(
    enumerate(
        [
            *(portfolio, lost_last_week, flow, deleted_by_customers, nobodys, shared),
            *(channels, tag_usage, untagged, handed_over, returns, at_the_end_of_the_first_week),
        ],
        1,
    )
)


def plain(value: Any) -> Any:
    """A value of any driver's as one of Python's: whole numbers, days as text, aware moments."""
    if isinstance(value, Decimal):
        assert value == int(value)
        return int(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", value):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def in_order(rows: Iterable[tuple[Any, ...]]) -> Rows:
    """Texts are sorted in another order by each database."""
    return sorted((tuple(plain(value) for value in row) for row in rows), key=repr)


async def ask(database: Database, statement: str) -> Rows:
    # Colons of moments are no parameters.
    words = text(statement.replace(":", r"\:"))
    async with database.read() as conn:
        if database.dialect == "postgresql":
            await conn.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        return [tuple(row) for row in await conn.execute(words)]


async def test_every_question_has_the_simulators_own_answer(database_url: str, tmp_path: Path) -> None:
    async with lived(database_url, tmp_path, changes=CHANGES, outage=OUTAGE) as days:
        assert {number: in_order(await ask(days.database, statement)) for number, statement in questions().items()} == {
            number: in_order(answer(days)) for number, answer in ANSWERS.items()
        }
        _worth_asking(days)
        # The page's other way to ask the last one, by what is known today.
        flow = f"SELECT follow_userid, SUM(net) FROM v_daily_customer_flow WHERE corpid = '{CORPID}' AND {BEFORE}"
        then = await ask(days.database, f"{flow} GROUP BY follow_userid HAVING SUM(net) <> 0")
        assert in_order(then) == in_order(at_the_end_of_the_first_week(days))


def _worth_asking(days: Days) -> None:
    """The two weeks have something to tell about each question, or an empty answer would be right."""
    for number, answer in ANSWERS.items():
        assert len(answer(days)) > 1, f"question {number} has no answer to speak of"
    assert {turn.lost_by for turn in turns(days, since="2026-03-09")} == {None, "customer", "employee", "transfer"}
    lost = turns(days, ended=True, since="2026-03-09")
    missed = ("2026-03-10", "2026-03-11")
    assert {turn.day in missed for turn in lost if turn.tags} == {True, False}


async def test_there_are_twelve_questions_and_each_has_an_answer() -> None:
    assert list(questions()) == list(ANSWERS) == list(range(1, 13))
