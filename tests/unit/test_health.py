"""What /livez and /readyz say, and over HTTP."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from core.admin import create_app
from core.health import Health
from core.metrics import Metrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ready_when_every_component_is() -> None:
    health = Health()
    ingest, sync = health.component("ingest"), health.component("sync")
    ingest.ok()
    assert health.ready() == (
        False,
        {
            "status": "not ready",
            "components": {
                "ingest": {"state": "ok", "reason": ""},
                "sync": {"state": "waiting", "reason": "starting"},
            },
        },
    )
    sync.ok("up to date")
    assert health.ready()[0]


def test_a_paused_corp_is_ready_with_its_reason() -> None:
    health = Health()
    health.component("corp:ww1").degraded("40001: the secret is wrong")
    ready, detail = health.ready()
    assert ready
    assert detail["components"]["corp:ww1"] == {"state": "degraded", "reason": "40001: the secret is wrong"}


@pytest.mark.parametrize("state", ["waiting", "failed"])
def test_waiting_and_failed_are_not_ready(state: str) -> None:
    health = Health()
    getattr(health.component("sync"), state)("the database is away")
    assert not health.ready()[0]


def test_a_component_has_one_state_whoever_asks_for_it() -> None:
    health = Health()
    health.component("sync").ok()
    assert health.component("sync").state == "ok"


def test_a_loop_that_stopped_turning_is_not_live() -> None:
    clock = Clock()
    health = Health(clock)
    loop = health.component("apply", stalls_after=60)
    loop.ok()
    clock.now = 60
    assert health.live()[0]
    clock.now = 61
    assert health.live() == (False, {"status": "stalled", "stalled": ["apply"]})
    loop.turned()
    assert health.live()[0]


@pytest.mark.parametrize("state", ["waiting", "failed"])
def test_a_stated_wait_is_not_a_stall(state: str) -> None:
    clock = Clock()
    health = Health(clock)
    getattr(health.component("apply", stalls_after=60), state)("the database is away")
    clock.now = 3600
    assert health.live()[0]


def test_a_component_without_a_promise_never_stalls() -> None:
    clock = Clock()
    health = Health(clock)
    health.component("ingest").ok()
    clock.now = 3600
    assert health.live()[0]


@pytest.mark.asyncio
async def test_the_admin_port() -> None:
    clock = Clock()
    health, metrics = Health(clock), Metrics()
    metrics.count_event("change_external_contact", "add_external_contact", "applied")
    part = health.component("sync", stalls_after=10)
    async with TestClient(TestServer(create_app(health, metrics))) as client:
        assert (await client.get("/livez")).status == 200
        answer = await client.get("/readyz")
        assert answer.status == 503
        assert (await answer.json())["components"]["sync"]["reason"] == "starting"
        part.ok()
        assert (await client.get("/readyz")).status == 200
        clock.now = 11
        assert (await client.get("/livez")).status == 503
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"] == metrics.content_type
        text = await answer.text()
    line = (
        'wecom_crm_events_applied_total{change="add_external_contact",event="change_external_contact",'
        'outcome="applied"} 1.0'
    )
    assert line in text.splitlines()


def test_names_that_a_sender_makes_up_do_not_grow_the_metrics() -> None:
    metrics = Metrics()
    for number in range(300):
        metrics.count_event(f"event{number}", "", "unknown")
    metrics.count_event("long" * 50, "", "unknown")
    metrics.count_event("line\nbreak", "", "unknown")
    metrics.count_event("event0", "", "unknown")
    lines = [
        line for line in metrics.render().decode().splitlines() if line.startswith("wecom_crm_events_applied_total{")
    ]
    assert len(lines) == 101
    assert 'wecom_crm_events_applied_total{change="other",event="other",outcome="unknown"} 202.0' in lines
    assert 'wecom_crm_events_applied_total{change="",event="event0",outcome="unknown"} 2.0' in lines


def test_every_metric_has_a_help_text_and_our_prefix() -> None:
    families = list(Metrics().registry.collect())
    assert len(families) > 10
    for family in families:
        assert family.name.startswith("wecom_crm_")
        assert len(family.documentation) > 10
