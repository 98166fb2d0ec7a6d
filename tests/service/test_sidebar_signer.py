"""Signatures: right ones for the page's own address, none for anything else, and one new ticket for one that died."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidebar.guard import SESSION_HEADER
from tests.support.sidebar import CRM, OTHER, PUBLIC_URL, Bench, Seen, Tab, sidebar_bench, until_refused
from tests.support.url_tricks import foreign_addresses
from wecom.jssdk import signature
from wecom.simulator.api import Refusal

pytestmark = pytest.mark.asyncio

KINDS = ("config", "agent")
PATHS = {"config": "get_jsapi_ticket", "agent": "ticket/get"}


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path, sync=False) as bench:
        yield bench


@pytest_asyncio.fixture
async def tab(bench: Bench) -> Tab:
    tab = bench.browser().tab()
    await tab.open()
    return tab


def accepted(bench: Bench, seen: Seen, url: str, kind: str, corpid: str = "ww1", agentid: int = CRM) -> bool:
    """Whether the client takes it: whether one of the tickets that are valid makes the same."""
    got = seen.json()
    valid = bench.simulator.tickets.valid(corpid, kind, agentid)
    return got["signature"] in {signature(one, got["nonceStr"], got["timestamp"], url) for one in valid}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", ["", "?lang=en", "?b=%E4%BD%A0&c=%25", "?a=b%2Bc+d"])
async def test_the_client_takes_it(bench: Bench, tab: Tab, kind: str, query: str) -> None:
    """Escapes are signed as they are: neither decoded nor encoded once more."""
    url = PUBLIC_URL + tab.base + query
    seen = await tab.sign(url, kind)
    assert seen.status == 200
    assert accepted(bench, seen, url, kind)
    assert set(seen.json()) == {"timestamp", "nonceStr", "signature", "ticket"}
    assert seen.json()["timestamp"] == pytest.approx(bench.clock(), abs=5)
    assert (await tab.sign(url, kind)).json()["nonceStr"] != seen.json()["nonceStr"]


async def test_each_kind_and_app_has_its_own_ticket(bench: Bench) -> None:
    handles = set()
    for corpid in ("ww1", "ww2"):
        for agentid in (CRM, OTHER):
            tab = bench.browser(corpid).tab(corpid, agentid)
            await tab.open()
            for kind in KINDS:
                seen = await tab.sign(kind=kind)
                assert accepted(bench, seen, PUBLIC_URL + tab.base, kind, corpid, agentid)
                handles.add(seen.json()["ticket"])
    assert len(handles) == 8


async def test_no_address_but_its_own_is_signed(bench: Bench, tab: Tab) -> None:
    """More than two hundred that look like it."""
    tried = 0
    for url in dict.fromkeys(foreign_addresses()):
        seen = await tab.sign(url)
        assert (seen.status, seen.json()) == (403, {"code": "url_not_allowed"}), url
        tried += 1
    assert tried > 200
    assert bench.simulator.counts.calls(path="ticket/get") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"kind": "agent"}',
        b'{"kind": "other", "url": "x"}',
        b'{"kind": "agent", "url": 5}',
        b'{"kind": "agent", "url": null}',
        b'{"kind": ["agent"], "url": "x"}',
        b'{"kind": "agent", "url": "x", "rejected": 5}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
async def test_a_body_that_makes_no_sense(tab: Tab, body: bytes) -> None:
    headers = {SESSION_HEADER: tab.marker, "Content-Type": "application/json"}
    seen = await tab.browser.ask("POST", f"{tab.base}/api/signature", headers=headers, data=body)
    assert (seen.status, seen.json()) == (400, {"code": "bad_request"})


async def test_a_body_that_is_too_large_or_no_json(tab: Tab) -> None:
    address = f"{tab.base}/api/signature"
    headers = {SESSION_HEADER: tab.marker, "Content-Type": "application/json"}
    large = json.dumps({"kind": "agent", "url": "x" * 10_000}).encode()
    assert (await tab.browser.ask("POST", address, headers=headers, data=large)).status == 413

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    assert (await tab.browser.ask("POST", address, headers=headers, data=parts())).status == 413
    form = headers | {"Content-Type": "text/plain"}
    assert (await tab.browser.ask("POST", address, headers=form, data=b"{}")).status == 400


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ticket_that_was_revoked_is_replaced_once_for_everybody(bench: Bench, kind: str) -> None:
    tabs = [bench.browser(userid=userid).tab() for userid in ("ZhangSan", "LiSi", "wangwu")]
    for tab in tabs:
        await tab.open()
    old = [(await tab.sign(kind=kind)).json()["ticket"] for tab in tabs]
    bench.simulator.api.revoke_tickets()
    url = PUBLIC_URL + tabs[0].base
    assert not accepted(bench, await tabs[0].sign(kind=kind), url, kind)
    seen = await asyncio.gather(*(tab.sign(kind=kind, rejected=old[0]) for tab in tabs for _ in range(5)))
    assert all(accepted(bench, one, url, kind) for one in seen)
    assert len(set(old)) == len({one.json()["ticket"] for one in seen}) == 1
    assert bench.simulator.counts.calls(path=PATHS[kind]) == 2


async def test_token_and_ticket_revoked_at_once(bench: Bench, tab: Tab) -> None:
    handle = (await tab.sign()).json()["ticket"]
    bench.simulator.api.revoke_tokens()
    bench.simulator.api.revoke_tickets()
    assert accepted(bench, await tab.sign(rejected=handle), PUBLIC_URL + tab.base, "agent")
    assert len(bench.simulator.counts.gettoken["ww1", CRM]) == 2


async def test_whoever_rejects_every_ticket_is_not_given_new_ones_for_ever(bench: Bench, tab: Tab) -> None:
    """A page whose domain is wrong rejects them all; the platform counts what an app asks for."""
    handle = (await tab.sign()).json()["ticket"]
    for _ in range(20):
        handle = (await tab.sign(rejected=handle)).json()["ticket"]
    assert bench.simulator.counts.calls(path="ticket/get") == 4
    assert (await tab.sign(rejected="0" * 16)).status == 200
    assert bench.simulator.counts.calls(path="ticket/get") == 4


async def test_so_many_signatures_a_minute(bench: Bench, tab: Tab) -> None:
    seen = await until_refused(tab.sign)
    assert {one.status for one in seen[:-1]} == {200}
    assert 30 <= len(seen) - 1 < 60
    assert seen[-1].json()["code"] == "too_many"
    assert int(seen[-1].headers["Retry-After"]) == seen[-1].json()["retry_after"] > 0
    # Somebody else's are counted by themselves; a new login of the same employee does not help.
    other = bench.browser(userid="LiSi").tab()
    await other.open()
    assert (await other.sign()).status == 200
    await tab.login()
    assert len(await until_refused(tab.sign)) < 20


@pytest.mark.parametrize(
    ("errcode", "status", "code"), [(-1, 503, "platform"), (45009, 503, "platform"), (60020, 503, "platform_paused")]
)
async def test_a_platform_that_gives_no_ticket(
    bench: Bench, tab: Tab, monkeypatch: pytest.MonkeyPatch, errcode: int, status: int, code: str
) -> None:
    def refuse(*_: object) -> dict[str, object]:
        raise Refusal(errcode)

    monkeypatch.setitem(bench.simulator.api.handlers, "ticket/get", refuse)
    seen = await tab.sign()
    assert (seen.status, seen.json()["code"], seen.json()["errcode"]) == (status, code, errcode)
