"""A corp full of customers in the tables, two employees who are logged in, and what each of them must get to see."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import insert, text

from core.db.engine import Database
from core.db.tables import contact_event, corp
from core.settings import Settings, parse
from sidebar.guard import SESSION_HEADER
from sidebar.places import Places
from sidebar.session import SessionCookies, Sessions
from sync.objects.base import Answer
from sync.objects.customers import write_answers
from wecom.customers import Customer, Follow, FollowTag
from wecom_crm.migrate import migrate

CORPID = "ww1234567890abcdef"
AGENTID = 1000002
NUMBER = 1000
EMPLOYEES = ("wangfang", "zhangwei")
"""Who look at customers; every customer is theirs, and a few other employees'."""
SECRET_KEY = "a-key-of-the-service-with-enough-characters"

_OTHERS = ("chenjie", "liuyang", "sunli", "zhaomin")
_FAMILY, _GIVEN = "王李张刘陈杨赵黄周吴", "伟芳娜敏静丽强磊洋艳勇杰娟涛明超霞平刚桂英"
_LABELS = [("客户等级", f"等级{number}") for number in "ABCD"] + [("来源", word) for word in ("展会", "官网", "转介绍")]
_CHANGES = ("edit_external_contact", "add_external_contact", "edit_external_contact")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a customer page's data: what is sent, and by what the right answer is known."""

    path: str
    cookie: str
    marker: str
    external_userid: str
    name: str
    remark: str

    @property
    def headers(self) -> dict[str, str]:
        """Of the request."""
        return {"Cookie": self.cookie, SESSION_HEADER: self.marker}


def configuration() -> Settings:
    """The product's; the platform is never asked."""
    return parse(
        {
            "service": {"public_url": "https://crm.example.com", "secret_key": SECRET_KEY},
            "wecom": {"api_base_url": "http://127.0.0.1:9"},
            "corp": [{"corpid": CORPID, "agent": [{"agentid": AGENTID, "secret": "a-secret", "customer_data": True}]}],
        }
    )


async def fill(database: Database) -> list[Ask]:
    """Make the tables, put everything in as sync does, log the employees in; returns one request per customer."""
    await migrate(database)
    chance = random.Random(1)
    async with database.write() as conn:
        now = await database.clock(conn)
        await conn.execute(insert(corp), [{"corpid": CORPID, "name": "A corp"}])
    people = [_customer(chance, number, now) for number in range(NUMBER)]
    for first in range(0, NUMBER, 100):
        answers = [Answer(one.external_userid, now, one) for one in people[first : first + 100]]
        async with database.write() as conn:
            await write_answers(conn, database.dialect, CORPID, answers, now)
    async with database.write() as conn:
        events = [event for one in people for event in _events(chance, one, now)]
        await conn.execute(insert(contact_event), events)
        await conn.execute(text("ANALYZE"))
    return await _asks(database, people)


async def _asks(database: Database, people: list[Customer]) -> list[Ask]:
    (place,) = Places(configuration())
    cookie_name = SessionCookies(secure=True).name(place)
    sessions = Sessions(database)
    browsers = {userid: await sessions.begin(place, userid, None) for userid in EMPLOYEES}
    asks: list[Ask] = []
    for number, one in enumerate(people):
        viewer = EMPLOYEES[number % len(EMPLOYEES)]
        value, public_id = browsers[viewer]
        follow = next(follow for follow in one.follows if follow.userid == viewer)
        path = f"{place.path}/api/customers/{quote(one.external_userid, safe='')}"
        cookie = f"{cookie_name}={value}"
        asks.append(Ask(path, cookie, public_id, one.external_userid, one.name or "", follow.remark or ""))
    return asks


def write_requests(asks: list[Ask], path: Path) -> None:
    """Write them for ``callbacks.lua``."""
    with path.open("wb") as file:
        for ask in asks:
            fields = {"Host": "crm.example.com", "Accept": "*/*", "Accept-Encoding": "gzip, deflate, br"} | ask.headers
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            request = f"GET {ask.path} HTTP/1.1\r\n{head}\r\n".encode()
            file.write(b"%d\n%b" % (len(request), request))


def _customer(chance: random.Random, number: int, now: datetime) -> Customer:
    name = chance.choice(_FAMILY) + "".join(chance.sample(_GIVEN, 2))
    external_userid = f"wm{number:05}{chance.getrandbits(100):025x}"
    owners = (*EMPLOYEES, *chance.sample(_OTHERS, 2))
    values: dict[str, Any] = {
        "external_userid": external_userid,
        "name": name,
        "type": 1,
        "gender": chance.choice((1, 2)),
        "avatar": f"https://wx.qlogo.cn/mmhead/{chance.getrandbits(200):050x}/0",
        "unionid": f"o{chance.getrandbits(100):025x}",
        "follows": tuple(_follow(chance, userid, f"{name} {number}", now) for userid in owners),
    }
    values |= dict.fromkeys(("position", "corp_name", "corp_full_name", "external_profile"))
    return Customer(**values)


def _follow(chance: random.Random, userid: str, words: str, now: datetime) -> Follow:
    group, label = chance.choice(_LABELS)
    return Follow(
        userid=userid,
        remark=f"{words} of {userid}",
        description="在展会上认识，对新产品感兴趣",
        createtime=int(now.timestamp()) - chance.randrange(86_400, 86_400 * 300),
        tags=(
            FollowTag(group, label, 1, f"et{label}"),
            FollowTag("我的", "重点", 2, None),
            FollowTag("我的", "球友", 2, None),
        ),
        remark_corp_name="某某科技有限公司",
        remark_mobiles=("13800000000",),
        oper_userid=userid,
        add_way=chance.choice((1, 3, 16)),
        state=None,
        wechat_channels=None,
    )


def _events(chance: random.Random, one: Customer, now: datetime) -> list[dict[str, Any]]:
    """Three of each relation."""
    rows: list[dict[str, Any]] = []
    for follow in one.follows:
        for change in _CHANGES:
            moment = now - timedelta(minutes=chance.randrange(1, 10_000))
            row = {"corpid": CORPID, "event_id": f"{chance.getrandbits(256):064x}", "event": "change_external_contact"}
            row |= {"change": change, "kind": "customer", "object_id": one.external_userid, "userid": follow.userid}
            row |= {"callback": "customers", "outcome": "applied"}
            rows.append(row | {"happened_at": moment, "received_at": moment, "recorded_at": moment, "leaves": []})
    return rows
