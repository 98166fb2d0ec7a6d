"""Who has the page open: the silent login inside the WeCom client (documents 91022, 91023)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from wecom.client import WeComClient
from wecom.errors import NotVisible, Retry

GETUSERINFO = "auth/getuserinfo"
GET_USER = "user/get"
LONGEST_CODE = 512
_LONGEST_ID = 128
_LEFT = 5


def authorize_url(base: str, corpid: str, agentid: int, redirect_uri: str, state: str) -> str:
    """Where to send the browser. It comes back to ``redirect_uri`` with ``code`` and ``state``.

    ``base`` is the login page without a query. ``state`` may be up to 128 letters and digits, else 84025; the host of
    ``redirect_uri`` must be the app's trusted domain, else 50001.
    """
    query = {
        "appid": corpid,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": "snsapi_base",
        "state": state,
        "agentid": str(agentid),
    }
    return f"{base}?{urlencode(query, quote_via=quote, safe='')}#wechat_redirect"


async def employee_of(client: WeComClient, corpid: str, secret_name: str, code: str) -> str | None:
    """The userid, in lower case, of the employee whose visit ``code`` stands for; None for anybody else.

    A code can be redeemed once, within five minutes, by the app that it was made for. Raises an ``ApiError``;
    ``CodeRejected`` when the login has to begin again.
    """
    answer = await client.call(corpid, secret_name, GETUSERINFO, params={"code": code}, share="sidebar")
    userid = answer.get("userid")
    if userid is None and ("openid" in answer or "external_userid" in answer):
        return None
    if not isinstance(userid, str) or not userid or len(userid) > _LONGEST_ID:
        raise Retry(GETUSERINFO, None, "an answer that names nobody")
    # A linked corporation's employee is told as CorpId/userid, and is none of this corp.
    return None if "/" in userid else userid.lower()


async def is_in_range(client: WeComClient, corpid: str, secret_name: str, userid: str) -> bool:
    """Whether the app may see this employee: to be one does not mean to be in its visible range (document 90196).

    Raises an ``ApiError`` when it can't be told.
    """
    try:
        answer = await client.call(corpid, secret_name, GET_USER, params={"userid": userid}, share="sidebar")
    except NotVisible:
        return False
    return answer.get("status") != _LEFT
