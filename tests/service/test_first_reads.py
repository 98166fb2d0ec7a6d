"""What was never read before differs from every answer, from one that lags behind the event as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crm import crm_database
from tests.support.histories import Histories
from wecom.simulator.world import Change, World
from wecom_crm.comparison import compare

pytestmark = pytest.mark.asyncio


def _moved(world: World, corpid: str) -> Change | None:
    employee = next(iter(world.corp(corpid).employees.values()))
    other = next(number for number in (2, 3) if all(place.department_id != number for place in employee.places))
    return world.update_employee(corpid, employee.userid, departments=[other], position="elsewhere")


def _tagged(world: World, corpid: str) -> Change | None:
    tag = world.corp(corpid).member_tag(1)
    return world.update_member_tag(corpid, 1, del_users=tag.users[:1])


def _placed(world: World, corpid: str) -> Change | None:
    return world.update_department(corpid, 2, parentid=3, name="below")


def _called(world: World, corpid: str) -> Change | None:
    """A group whose beginning nobody was told of, long ago."""
    corp = world.corp(corpid)
    chat = corp.chats[world.create_chat(corpid, next(iter(corp.employees)), name="before").object_id]
    world.clock.now += 60  # type: ignore[attr-defined]
    return world.set_chat_name(corpid, chat.chat_id, "after")


def _remarked(world: World, corpid: str) -> Change | None:
    """A customer whose beginning nobody was told of, long ago."""
    corp = world.corp(corpid)
    userid, employee = next(iter(corp.customers)), next(iter(corp.employees))
    world.add(corpid, userid, employee)
    world.clock.now += 60  # type: ignore[attr-defined]
    return world.edit(corpid, userid, employee, remark="a new remark")


@pytest.mark.parametrize("change", [_remarked, _moved, _tagged, _placed, _called])
async def test_an_answer_that_lags_is_not_believed_because_it_is_the_first(
    tmp_path: Path, change: Callable[[World, str], Change | None]
) -> None:
    async with crm_database(tmp_path, (), ()) as database:
        histories = Histories(database, 1, 1, lag=4.0, lag_share=1.0)
        (corpid,) = histories.world.corps
        made = change(histories.world, corpid)
        assert made is not None
        await histories.tell([made])
        await histories.read()
        report = await compare(database, histories.known.truth)
        assert not report.equal
        await histories.settle()
        report = await compare(database, histories.known.truth)
        assert report.equal, f"{report}: {report.missing} {report.spurious} {report.differing}"
