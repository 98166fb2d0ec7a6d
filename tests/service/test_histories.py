"""Whatever happens and in whatever order it is told: the tables are the platform's state, and history is in order.

Each history is one corp's: adds, losses either way, transfers, edits, tags, groups, employees who come, go and are
renamed, departments, silent edits. Its events come in any order, some twice and some never; what was never told of is
read again at the end. ``WECOM_CRM_TEST_HISTORIES`` says how many there are.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.crm import crm_database
from tests.support.histories import Histories
from wecom_crm.comparison import compare

pytestmark = pytest.mark.asyncio

HISTORIES = int(os.environ.get("WECOM_CRM_TEST_HISTORIES", "100"))
CORPS = 10
CHANGES = 18


@pytest.mark.parametrize("seed", range(1, (HISTORIES + CORPS - 1) // CORPS + 1))
async def test_the_tables_are_the_platforms_state_in_the_end(tmp_path: Path, seed: int) -> None:
    async with crm_database(tmp_path, (), ()) as database:
        histories = Histories(database, seed, CORPS)
        await histories.run(CORPS * CHANGES)
        await histories.heal()
        report = await compare(database, histories.truth)
        assert report.equal, f"{report}: {report.missing[:3]} {report.spurious[:3]} {report.differing[:3]}"
