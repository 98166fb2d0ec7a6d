"""Tickets: fetched with the app's token, kept like tokens, and never asked for in a loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.api_server import (
    OTHER,
    SECRET,
    ApiServer,
    Clock,
    Observed,
    api_server,
    assert_nothing_shown,
    client_of,
    gathered,
    json_answer,
)
from wecom.client import TICKETS, WeComClient
from wecom.errors import ApiError, RateLimited, Retry
from wecom.tokens import AGENT_TICKET, JSAPI_TICKET, Secret

pytestmark = pytest.mark.asyncio

APIS = {kind: api for kind, (api, _) in TICKETS.items()}
KINDS = pytest.mark.parametrize("kind", [JSAPI_TICKET, AGENT_TICKET])


def give_tickets(server: ApiServer, *, same: bool = False) -> None:
    """Each call another ticket, which says whose it is; with ``same`` the first one for ever."""
    for kind, api in APIS.items():

        async def answer(request: web.Request, kind: str = kind, api: str = api) -> web.StreamResponse:
            corpid = server.tokens[request.query["access_token"]]
            number = 1 if same else len(server.asked(api))
            return web.json_response({"errcode": 0, "ticket": f"{corpid}-{kind}-{number}", "expires_in": 7200})

        server.answers[api] = answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as running:
        give_tickets(running)
        yield running


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest_asyncio.fixture
async def client(server: ApiServer, clock: Clock, observed: Observed) -> AsyncIterator[WeComClient]:
    async with client_of(server, observer=observed, clock=clock) as made:
        yield made


async def ticket(client: WeComClient, kind: str, secret: Secret = SECRET, rejected: str | None = None) -> str:
    return await client.ticket(secret.corpid, secret.name, kind, rejected=rejected)


async def test_the_agents_ticket_is_asked_for_as_such(server: ApiServer, client: WeComClient) -> None:
    assert await ticket(client, AGENT_TICKET) == f"ww1-{AGENT_TICKET}-1"
    (call,) = server.asked("ticket/get")
    assert (call.method, call.query["type"]) == ("GET", "agent_config")


@KINDS
async def test_one_fetch_serves_everybody_until_shortly_before_its_end(
    server: ApiServer, client: WeComClient, clock: Clock, kind: str, observed: Observed
) -> None:
    assert set(await gathered(*(ticket(client, kind) for _ in range(50)))) == {f"ww1-{kind}-1"}
    clock.now += 6890
    assert await ticket(client, kind) == f"ww1-{kind}-1"
    clock.now += 20
    assert await ticket(client, kind) == f"ww1-{kind}-2"
    assert observed.tokens.count(("ww1", kind, "ok")) == 2


async def test_kinds_and_corps_do_not_mix(server: ApiServer, client: WeComClient) -> None:
    wanted = [(kind, secret) for kind in APIS for secret in (SECRET, OTHER)]
    got = await gathered(*(ticket(client, kind, secret) for kind, secret in wanted * 5))
    assert {one.rpartition("-")[0] for one in got} == {f"{secret.corpid}-{kind}" for kind, secret in wanted}
    assert len(set(got)) == 4


@KINDS
async def test_many_who_were_refused_the_same_ticket_cause_one_fetch(
    server: ApiServer, client: WeComClient, kind: str
) -> None:
    old = await ticket(client, kind)
    assert set(await gathered(*(ticket(client, kind, rejected=old) for _ in range(20)))) == {f"ww1-{kind}-2"}
    # The old one may come back late.
    assert await ticket(client, kind, rejected=old) == f"ww1-{kind}-2"
    assert len(server.asked(APIS[kind])) == 2


@KINDS
async def test_the_platform_may_give_the_rejected_one_again(server: ApiServer, client: WeComClient, kind: str) -> None:
    give_tickets(server, same=True)
    old = await ticket(client, kind)
    assert await ticket(client, kind, rejected=old) == old
    assert await ticket(client, kind) == old
    assert len(server.asked(APIS[kind])) == 2


@KINDS
async def test_a_token_that_died_is_renewed_once_on_the_way(server: ApiServer, client: WeComClient, kind: str) -> None:
    old = await ticket(client, kind)
    server.revoke()
    assert await ticket(client, kind, rejected=old) == f"ww1-{kind}-3"
    assert (len(server.asked("gettoken")), len(server.asked(APIS[kind]))) == (2, 3)


@KINDS
async def test_an_hour_of_failures_stays_within_what_an_app_may_ask(
    server: ApiServer, client: WeComClient, clock: Clock, kind: str
) -> None:
    """A hundred an hour (document 90506), for all processes together."""
    server.answers[APIS[kind]] = json_answer({"errcode": -1, "errmsg": "busy"})
    for _ in range(3600):
        with pytest.raises(Retry) as raised:
            await ticket(client, kind)
        clock.now += 1
    assert_nothing_shown(raised.value)
    assert 10 < len(server.asked(APIS[kind])) < 50


@KINDS
async def test_a_limit_that_was_hit_is_not_tried_again_for_long(
    server: ApiServer, client: WeComClient, clock: Clock, kind: str, observed: Observed
) -> None:
    server.answers[APIS[kind]] = json_answer({"errcode": 45009, "errmsg": "limit"})
    for _ in range(600):
        with pytest.raises(RateLimited) as raised:
            await ticket(client, kind)
        assert raised.value.retry_after > 0
        clock.now += 0.99
    assert len(server.asked(APIS[kind])) == 1
    assert observed.tokens == [("ww1", "access_token", "ok"), ("ww1", kind, "refused")]


@pytest.mark.parametrize("answer", [{"errcode": 0}, {"errcode": 0, "ticket": ""}, {"errcode": 0, "ticket": 5}])
async def test_an_answer_without_a_ticket_is_none(
    server: ApiServer, client: WeComClient, answer: dict[str, object]
) -> None:
    server.answers["ticket/get"] = json_answer(answer)
    with pytest.raises(ApiError, match="without ticket"):
        await ticket(client, AGENT_TICKET)


async def test_a_secret_that_is_not_configured(client: WeComClient) -> None:
    with pytest.raises(LookupError, match="agent:9"):
        await client.ticket("ww1", "agent:9", AGENT_TICKET)
