"""The login's address, and who a code stands for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.support.api_server import SECRET, ApiServer, assert_nothing_shown, json_answer
from wecom.client import WeComClient
from wecom.errors import ApiError, CodeRejected, CorpPaused, Retry
from wecom.oauth import GET_USER, GETUSERINFO, authorize_url, employee_of, is_in_range

pytestmark = pytest.mark.asyncio


async def who(client: WeComClient) -> str | None:
    return await employee_of(client, SECRET.corpid, SECRET.name, "C0de")


async def test_the_address_has_every_parameter_in_the_documented_order() -> None:
    back = "https://crm.example.com/sidebar/ww1/1000002/callback?a=b&c=张"
    url = authorize_url("https://open.example/authorize", "ww1", 1000002, back, "abc123")
    assert url.endswith("#wechat_redirect")
    assert parse_qsl(urlsplit(url).query, strict_parsing=True) == [
        ("appid", "ww1"),
        ("redirect_uri", back),
        ("response_type", "code"),
        ("scope", "snsapi_base"),
        ("state", "abc123"),
        ("agentid", "1000002"),
    ]
    assert "+" not in url


async def test_an_employee_in_lower_case(server: ApiServer, client: WeComClient) -> None:
    server.answers[GETUSERINFO] = json_answer({"errcode": 0, "userid": "ZhangSan", "user_ticket": "x"})
    assert await who(client) == "zhangsan"
    (call,) = server.asked(GETUSERINFO)
    assert (call.method, call.query["code"]) == ("GET", "C0de")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"openid": "oA"}, id="anybody"),
        pytest.param({"openid": "oA", "external_userid": "wmA"}, id="a customer"),
        pytest.param({"userid": "ww9/zhangsan"}, id="an employee of a linked corporation"),
    ],
)
async def test_nobody_of_this_corp(server: ApiServer, client: WeComClient, answer: dict[str, str]) -> None:
    server.answers[GETUSERINFO] = json_answer({"errcode": 0, "errmsg": "ok"} | answer)
    assert await who(client) is None


@pytest.mark.parametrize("answer", [{}, {"userid": ""}, {"userid": 7}, {"userid": "x" * 129}])
async def test_an_answer_that_names_nobody_is_none(
    server: ApiServer, client: WeComClient, answer: dict[str, Any]
) -> None:
    server.answers[GETUSERINFO] = json_answer({"errcode": 0} | answer)
    with pytest.raises(Retry):
        await who(client)


@pytest.mark.parametrize(
    ("errcode", "kind"), [(40029, CodeRejected), (42003, CodeRejected), (42022, CodeRejected), (50001, CorpPaused)]
)
async def test_refused_codes(server: ApiServer, client: WeComClient, errcode: int, kind: type[ApiError]) -> None:
    server.answers[GETUSERINFO] = json_answer({"errcode": errcode, "errmsg": "invalid"})
    with pytest.raises(kind) as raised:
        await who(client)
    assert_nothing_shown(raised.value)
    # A code counts once, so it is not sent again.
    assert len(server.asked(GETUSERINFO)) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"errcode": 0, "userid": "ZhangSan", "status": 1}, True),
        ({"errcode": 0, "userid": "ZhangSan"}, True),
        ({"errcode": 0, "userid": "ZhangSan", "status": 5}, False),
        ({"errcode": 60111}, False),
        ({"errcode": 60011}, False),
    ],
)
async def test_the_visible_range(
    server: ApiServer, client: WeComClient, answer: dict[str, Any], expected: bool
) -> None:
    server.answers[GET_USER] = json_answer(answer)
    assert await is_in_range(client, SECRET.corpid, SECRET.name, "zhangsan") is expected


async def test_a_range_that_cant_be_told_is_not_taken_for_open(server: ApiServer, client: WeComClient) -> None:
    server.answers[GET_USER] = json_answer({"errcode": 48002})
    with pytest.raises(CorpPaused):
        await is_in_range(client, SECRET.corpid, SECRET.name, "zhangsan")
