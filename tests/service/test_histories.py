"""Whatever happens and in whatever order it is told: the tables are the platform's state, and history is in order.

Each history is one corp's: adds, losses either way, transfers, edits, tags, groups, employees who come, go and are
renamed, departments, silent edits, within hours or days. Its events come in any order, some twice and some never; what
was never told of is read again at the end. Answers may lag behind the events, for seconds or for a minute.
``WECOM_CRM_TEST_HISTORIES`` says how many histories there are; two tenths of them are on the servers.
"""

from __future__ import annotations

import os

import pytest

from core.db.tables import HISTORY, customer_follow, metadata
from tests.support.crm import crm_database_at, rows
from tests.support.databases import MakeDatabase
from tests.support.histories import Histories
from tests.support.versions import check_history
from wecom_crm.comparison import compare

pytestmark = pytest.mark.asyncio

HISTORIES = int(os.environ.get("WECOM_CRM_TEST_HISTORIES", "100"))
CORPS = 10
CHANGES = 18
LAGS = (0.0, 4.0, 60.0)
"""Seconds: not at all, for as long as the reader allows for, and longer."""
COME_AND_GO = {"customer_follow_tag", "employee_department", "group_chat_member", "customer_follow", "employee"}
"""Tags are taken and given again, members leave and return; rows of an id that somebody gets anew begin anew."""
SEEDS = range(1, (HISTORIES + CORPS - 1) // CORPS + 1)
SERVERS = {3: "postgresql", 7: "mariadb"}


@pytest.mark.parametrize(("seed", "database_kind"), [(seed, SERVERS.get(seed % 10, "sqlite")) for seed in SEEDS])
async def test_the_tables_are_the_platforms_state_in_the_end(make_migrated: MakeDatabase, seed: int) -> None:
    async with make_migrated() as url, crm_database_at(url, ()) as database:
        histories = Histories(database, seed, CORPS, lag=LAGS[seed % len(LAGS)])
        await histories.run(CORPS * CHANGES)
        await histories.heal()
        known = histories.known
        report = await compare(database, known.truth)
        assert report.equal, f"{report}: {report.missing[:3]} {report.spurious[:3]} {report.differing[:3]}"
        follows = await rows(database, customer_follow)
        unseen = [row for row in follows if row["unseen_since"] is not None and row["lost_at"] is None]
        assert {(row["corpid"], row["userid"], row["follow_userid"]) for row in unseen} == known.doubtful
        assert histories.told > CORPS * CHANGES / 2
        for name in HISTORY:
            await check_history(database, metadata.tables[name], gaps=name in COME_AND_GO)
