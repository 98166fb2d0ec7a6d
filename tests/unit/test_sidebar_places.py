"""Which addresses are a page's own."""

from __future__ import annotations

from typing import Any

import pytest

from core.settings import parse
from sidebar.places import LONGEST_URL, Place, Places
from tests.support.url_tricks import ORIGIN, PATH, foreign_addresses


def places(public_url: str = ORIGIN, corpid: str = "ww1") -> Places:
    document: dict[str, Any] = {
        "service": {"public_url": public_url, "secret_key": "k" * 32},
        "corp": [
            {
                "corpid": corpid,
                "agent": [
                    {"agentid": 1000002, "secret": "a", "customer_data": True},
                    {"agentid": 1000003, "secret": "b"},
                ],
            },
            {"corpid": "ww2", "agent": [{"agentid": 1000002, "secret": "c", "customer_data": True}]},
        ],
    }
    return Places(parse(document))


def place(public_url: str = ORIGIN) -> Place:
    found = places(public_url).find("ww1", "1000002")
    assert found is not None
    return found


@pytest.mark.parametrize("url", [ORIGIN + PATH, f"{ORIGIN}{PATH}?", f"{ORIGIN}{PATH}?lang=en&name=%E5%BC%A0&a='%20|"])
def test_its_own(url: str) -> None:
    assert place().is_own(url)
    assert place().return_path(url.removeprefix(ORIGIN)) == url.removeprefix(ORIGIN)


def test_no_trick_is_taken_for_its_own() -> None:
    tricks = list(foreign_addresses())
    assert len(set(tricks)) > 300
    assert [url for url in tricks if place().is_own(url)] == []


def test_a_login_comes_back_to_the_page_whatever_is_wanted() -> None:
    for wanted in (*foreign_addresses(), ORIGIN + PATH, "", "?x=1", "#x"):
        back = place().return_path(wanted)
        assert back == PATH, wanted


def test_the_longest() -> None:
    room = LONGEST_URL - len(ORIGIN + PATH) - 1
    assert place().is_own(f"{ORIGIN}{PATH}?{'a' * room}")
    assert not place().is_own(f"{ORIGIN}{PATH}?{'a' * (room + 1)}")


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("https://CRM.example.com", "https://crm.example.com/sidebar/ww1/1000002"),
        ("https://crm.example.com:443/", "https://crm.example.com/sidebar/ww1/1000002"),
        ("https://crm.example.com:8443", "https://crm.example.com:8443/sidebar/ww1/1000002"),
        ("https://crm.example.com/crm/", "https://crm.example.com/crm/sidebar/ww1/1000002"),
        ("https://例子.cn", "https://xn--fsqu00a.cn/sidebar/ww1/1000002"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/sidebar/ww1/1000002"),
    ],
)
def test_addresses_are_written_as_browsers_show_them(public_url: str, expected: str) -> None:
    assert place(public_url).url == expected


def test_a_corpid_is_any_text() -> None:
    found = places(corpid="a/b 张").find("a/b 张", "1000002")
    assert found is not None
    assert found.path == "/sidebar/a%2Fb%20%E5%BC%A0/1000002"


@pytest.mark.parametrize("agentid", ["01000002", "1000002 ", "+1000002", "１000002", "7", ""])
def test_an_agent_has_one_address(agentid: str) -> None:
    assert places().find("ww1", agentid) is None


def test_every_place_has_a_mark_of_its_own() -> None:
    marks = [one.mark for one in places()]
    assert len(marks) == len(set(marks)) == 3
    assert [one.secret_name for one in places()] == ["agent:1000002", "agent:1000003", "agent:1000002"]
    assert {one.customer_secret for one in places()} == {"agent:1000002"}
