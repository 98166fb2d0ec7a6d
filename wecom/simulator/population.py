"""Made-up corps: employees, customers and tags, the same for the same seed."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wecom.simulator.state import (
    CORP_TAG,
    ROOT,
    RULE_TAG,
    WECHAT,
    WECOM,
    Agent,
    Callback,
    Corp,
    Customer,
    Department,
    Employee,
    MemberTag,
    Place,
    Tag,
)
from wecom.simulator.world import World

_LETTERS = string.ascii_letters + string.digits

# Some in mixed case, as administrators type them.
_USERIDS = (
    *("ZhangSan", "LiSi", "wangwu", "Zhao.Liu", "sun_qi", "ZhouBa", "wu-jiu", "ZhengShi", "Feng@1", "chenyi"),
    *("ChuEr", "wei3", "JiangSi", "Shen5", "han6", "YangQi", "zhu.ba", "QinJiu", "You10", "xu11"),
)
_SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
_GIVEN = ("伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "洋", "艳", "勇", "军", "杰", "娟", "涛", "明", "超", "秀英")
_NICKNAMES = ("🌸", "A", "小", "老", "🐼 ", "Mr. ", "", "", "", "")
_COMPANIES = ("青山纺织", "Blue Harbor", "长河物流", "North & South", "云顶茶业", "Red <Lantern> Ltd.")
_POSITIONS = ("采购经理", "Manager", "店长", "Buyer", "总监")
_TAGS = {
    "客户等级": ("一般", "重要", "核心"),
    "Stage": ("lead", "trial", "contract", "lost"),
    "地区": ("华东", "华南", "华北"),
}
_RULE_TAGS = {"规则组 A": ("季度促销", "老客回访")}
_DEPARTMENTS = (("销售部", "Sales"), ("客服部", "Care"), ("华东区", "East"), ("华南区", "South"))
_JOBS = ("顾问", "Adviser", "客户经理", "组长", "")
_MEMBER_TAGS = ("新人", "night shift")
# Ids are compared with letter case: now and then one that differs in nothing else from another.
_TWIN_EVERY = 40


@dataclass(frozen=True, slots=True)
class CorpSetup:
    """What the product's configuration has to know of a corp."""

    corpid: str
    name: str
    agents: Sequence[Agent]
    callbacks: Sequence[Callback]


def small_world(
    setups: Sequence[CorpSetup],
    *,
    seed: int = 1,
    employees: int = 20,
    customers: int = 500,
    shared: float = 0.2,
    clock: Callable[[], float] = time.time,
) -> World:
    """Corps with these many employees and customers in all, and no relation or group yet: those come as changes.

    Every corp has the same userids. A share of the customers has the same external_userid in all corps under different
    names; ids that differ only in letter case occur too. There is no limit to the numbers.
    """
    source = random.Random(seed)
    corps: list[Corp] = []
    common = [_external_userid(source) for _ in range(int(shared * customers / max(1, len(setups))))]
    for number, setup in enumerate(setups):
        staff = [_employee(source, place) for place in range(_part(employees, number, len(setups)))]
        corp = Corp(setup.corpid, setup.name, list(setup.agents), list(setup.callbacks))
        corp.employees = {employee.userid.lower(): employee for employee in staff}
        wanted = _part(customers, number, len(setups))
        ids = dict.fromkeys(common[:wanted])
        while len(ids) < wanted:
            fresh = _external_userid(source)
            ids.setdefault(fresh)
            if len(ids) % _TWIN_EVERY == 0 and len(ids) < wanted:
                ids.setdefault(fresh[:2] + fresh[2:].swapcase())
        corp.customers = {key: _customer(source, key, setup.name) for key in ids}
        corp.tags = _tags(source)
        # With numbers of its own: people and tags stay what they are for a seed.
        _organise(corp, random.Random(f"{seed} {number}"))
        corps.append(corp)
    return World(corps, seed=source.randrange(2**32), clock=clock)


def nickname(source: random.Random) -> str:
    """A name as customers give themselves one."""
    return source.choice(_NICKNAMES) + source.choice(_SURNAMES) + source.choice(_GIVEN)


def mobile(source: random.Random) -> str:
    """A phone number of eleven digits."""
    return "13" + "".join(source.choices(string.digits, k=9))


def company(source: random.Random) -> str:
    """A company's name, with characters that need escaping in some formats."""
    return source.choice(_COMPANIES)


def _part(total: int, number: int, of: int) -> int:
    return total // of + (1 if number < total % of else 0)


def _employee(source: random.Random, place: int) -> Employee:
    turn, index = divmod(place, len(_USERIDS))
    name = source.choice(_SURNAMES) + source.choice(_GIVEN)
    return Employee(_USERIDS[index] + (str(turn) if turn else ""), name)


def _organise(corp: Corp, source: random.Random) -> None:
    """Departments below the root, the last of them below the first; everybody has a place, and some a superior."""
    corp.departments[ROOT] = Department(ROOT, corp.name, parentid=0)
    for number, (name, name_en) in enumerate(_DEPARTMENTS, start=ROOT + 1):
        parentid = ROOT if number < ROOT + 3 else ROOT + 1
        corp.departments[number] = Department(number, name, parentid, name_en, order=100 - number)
    staff = list(corp.employees.values())
    for employee in staff:
        numbers = source.sample(sorted(corp.departments), k=source.choice((1, 1, 1, 2)))
        employee.places = tuple(Place(number, source.randrange(100), source.random() < 0.1) for number in numbers)
        employee.position = source.choice(_JOBS)
        employee.alias = source.choice(("", "", employee.userid.lower()))
        superior = source.choice(staff)
        employee.leaders = (superior.userid,) if superior is not employee and source.random() < 0.5 else ()
    for tagid, name in enumerate(_MEMBER_TAGS, start=1):
        users = source.sample(staff, k=min(2, len(staff)))
        corp.member_tags[tagid] = MemberTag(tagid, name, [employee.userid for employee in users], [ROOT + tagid])


def _external_userid(source: random.Random) -> str:
    return source.choice(("wm", "wo")) + "".join(source.choices(_LETTERS, k=30))


def _customer(source: random.Random, key: str, corp_name: str) -> Customer:
    # The corp's name in it: whoever mixes up two corps shows the wrong one.
    name = f"{nickname(source)} ({corp_name})"
    avatar = f"https://wx.example/avatar/{key[2:14]}/0"
    gender = source.choice((0, 1, 2))
    if source.random() < 0.8:
        # Not everybody's account is bound to the corp's developer id.
        unionid = "o" + "".join(source.choices(_LETTERS, k=27)) if source.random() < 0.9 else None
        return Customer(key, name, WECHAT, gender, avatar, unionid)
    return Customer(
        external_userid=key,
        name=name,
        type=WECOM,
        gender=gender,
        avatar=avatar,
        position=source.choice(_POSITIONS) if source.random() < 0.7 else None,
        corp_name=(short := company(source)),
        corp_full_name=f"{short}有限公司",
        external_profile={"external_attr": [{"type": 0, "name": "标签", "text": {"value": source.choice(_POSITIONS)}}]},
    )


def _tags(source: random.Random) -> list[Tag]:
    made: list[Tag] = []
    for kind, prefix, groups in ((CORP_TAG, "et", _TAGS), (RULE_TAG, "st", _RULE_TAGS)):
        for group, names in groups.items():
            made += [Tag(kind, group, name, prefix + "".join(source.choices(_LETTERS, k=30))) for name in names]
    return made
