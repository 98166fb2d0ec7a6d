"""The admin port: what it answers, and what it refuses to do."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from core.admin import ACTION_HEADER, create_app
from core.health import Health
from core.metrics import Metrics

pytestmark = pytest.mark.asyncio


async def test_health_and_metrics_are_told() -> None:
    health, metrics = Health(), Metrics()
    part = health.component("apply")
    async with TestClient(TestServer(create_app(health, metrics))) as client:
        assert (await client.get("/livez")).status == 200
        answer = await client.get("/readyz")
        assert (answer.status, (await answer.json())["components"]["apply"]["reason"]) == (503, "starting")
        part.ok()
        assert (await client.get("/readyz")).status == 200
        text = await (await client.get("/metrics")).text()
        assert "wecom_crm_callbacks_total" in text


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/actions/relay?from=7", {ACTION_HEADER: "x"}, 202),
        ("/actions/relay?from=7", {}, 400),
        ("/actions/relay?from=-7", {ACTION_HEADER: "x"}, 400),
        ("/actions/relay?from=", {ACTION_HEADER: "x"}, 400),
        ("/actions/relay?from=" + "9" * 40, {ACTION_HEADER: "x"}, 400),
        ("/actions/relay", {ACTION_HEADER: "x"}, 400),
        ("/actions/other?from=7", {ACTION_HEADER: "x"}, 404),
    ],
)
async def test_an_action_is_done_for_our_own_commands_only(path: str, headers: dict[str, str], status: int) -> None:
    done: list[int] = []
    app = create_app(Health(), Metrics(), {"relay": done.append})
    async with TestClient(TestServer(app)) as client:
        assert (await client.post(path, headers=headers)).status == status
    assert done == ([7] if status == 202 else [])
