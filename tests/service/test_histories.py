"""Whatever happens and in whatever order it is told: the tables are the platform's state, and history is in order.

Each history is one corp's: adds, losses either way, transfers, edits, tags, groups, employees who come, go and are
renamed, departments, silent edits. Its events come in any order, some twice and some never; what was never told of is
read again at the end. ``WECOM_CRM_TEST_HISTORIES`` says how many there are.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.db.tables import HISTORY, metadata
from tests.support.crm import crm_database
from tests.support.histories import Histories
from tests.support.versions import check_history
from wecom_crm.comparison import compare

pytestmark = pytest.mark.asyncio

HISTORIES = int(os.environ.get("WECOM_CRM_TEST_HISTORIES", "100"))
CORPS = 10
CHANGES = 18
COME_AND_GO = {"customer_follow_tag", "employee_department", "group_chat_member", "customer_follow", "employee"}
"""Tags are taken and given again, members leave and return; rows of an id that somebody gets anew begin anew."""


@pytest.mark.parametrize("seed", range(1, (HISTORIES + CORPS - 1) // CORPS + 1))
async def test_the_tables_are_the_platforms_state_in_the_end(tmp_path: Path, seed: int) -> None:
    async with crm_database(tmp_path, (), ()) as database:
        histories = Histories(database, seed, CORPS)
        await histories.run(CORPS * CHANGES)
        await histories.heal()
        report = await compare(database, histories.truth)
        assert report.equal, f"{report}: {report.missing[:3]} {report.spurious[:3]} {report.differing[:3]}"
        assert histories.told > CORPS * CHANGES / 2
        for name in HISTORY:
            await check_history(database, metadata.tables[name], gaps=name in COME_AND_GO)
