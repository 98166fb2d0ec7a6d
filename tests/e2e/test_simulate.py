"""``wecom-crm simulate`` as a command of its own; what to do with it is in test_by_hand."""

from __future__ import annotations

import signal

import aiohttp
import pytest

from tests.support.processes import running
from tests.support.product import Premises
from tests.support.waiting import until_async
from wecom_crm.demo_world import make_corps

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_it_makes_changes_by_itself_until_it_is_ended(premises: Premises, number: signal.Signals) -> None:
    premises.configure(make_corps())
    output = premises.folder / "simulate.out"
    command = ("--config", str(premises.config), "simulate", "--rate", "50", "--seed", "7")
    async with (
        running(premises.installed, *command, folder=premises.folder, output=output) as simulator,
        aiohttp.ClientSession() as session,
    ):
        await simulator.until_said("try  ")

        async def made() -> bool:
            async with session.get(f"http://127.0.0.1:{premises.api_port}/simulator") as answer:
                pushes = (await answer.json())["pushes"]
            # Nobody is there to take them.
            return bool(pushes["changes"] >= 20 and pushes["attempts"] > 0 and pushes["acknowledged"] == 0)

        await until_async(made)
        assert await simulator.signalled(number, 10) == 0
        assert "Traceback" not in simulator.said


@pytest.mark.parametrize("url", ["https://qyapi.example.com", "https://127.0.0.1:9090", "http://localhost"])
async def test_it_runs_on_this_machine_only(premises: Premises, url: str) -> None:
    premises.configure(make_corps())
    done = await premises.run("simulate", environ={"WECOM_CRM_WECOM__API_BASE_URL": url})
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("The simulator runs on this machine only: set [wecom] api_base_url to an address of it")


async def test_a_taken_address_ends_it_with_a_sentence(premises: Premises) -> None:
    premises.configure(make_corps())
    url = f"http://127.0.0.1:{premises.api_port}"
    output = premises.folder / "simulate.out"
    command = ("--config", str(premises.config), "simulate")
    async with running(premises.installed, *command, folder=premises.folder, output=output) as simulator:
        await simulator.until_said("try  ")
        done = await premises.run("simulate")
        assert (done.status, done.out) == (1, "")
        assert done.err == f"{url} is taken: end what uses it, or change [wecom] api_base_url\n"
