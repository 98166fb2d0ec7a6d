"""A customer as the page gets it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sidebar.customers import Found, may_see
from sidebar.places import Place
from sidebar.session import Session
from sidebar.view import ADD_WAYS, view

NOW = datetime(2026, 3, 2, 10, 0, 12, tzinfo=UTC)
SESSION = Session(Place("ww1", 1, "agent:1", "agent:1", "/p", "https://x/p"), "0" * 32, "zhangsan")
PLATFORM = Path(__file__).parents[2] / "docs" / "reference" / "platform.md"


def found(customer: dict[str, Any] | None = None, relation: dict[str, Any] | None = None, **more: Any) -> Found:
    names = ("name", "avatar", "type", "gender", "position", "corp_name", "corp_full_name")
    columns = (
        *("remark", "description", "remark_corp_name", "remark_mobiles", "add_way", "state", "oper_userid"),
        *("createtime", "last_add_at", "last_loss_at", "lost_at", "lost_by", "unseen_since"),
    )
    return Found(
        session=SESSION,
        now=NOW,
        customer=dict.fromkeys(names) | (customer or {}),
        relation=dict.fromkeys(columns) | (relation or {}),
        fetched_at=more.pop("fetched_at", NOW - timedelta(seconds=12)),
        **more,
    )


def test_what_is_not_known_is_null() -> None:
    got = view("wmA", found())
    assert set(got) == {"customer", "relation", "tags", "colleagues", "events", "synced"}
    assert got["customer"]["external_userid"] == "wmA"
    assert got["relation"]["remark_mobiles"] == []
    assert got["relation"]["added_at"] is got["relation"]["add_way_key"] is got["customer"]["avatar"] is None
    assert got["synced"] == {"at": "2026-03-02T10:00:00Z", "age_seconds": 12}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://wx.qlogo.cn/a/0", True),
        ("http://wx.qlogo.cn/a/0", False),
        ("javascript:alert(1)", False),
        ("data:image/svg+xml,<svg/>", False),
        ("//evil.example/a", False),
        ("HTTPS://wx.qlogo.cn/a", False),
        ("", False),
    ],
)
def test_only_pictures_that_come_by_https(address: str, shown: bool) -> None:
    assert view("wmA", found({"avatar": address}))["customer"]["avatar"] == (address if shown else None)


def test_an_age_is_never_negative() -> None:
    assert view("wmA", found(fetched_at=NOW + timedelta(seconds=3)))["synced"]["age_seconds"] == 0


def test_when_it_began_is_the_platforms_word_before_the_events() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    relation = {"createtime": int(moment.timestamp()), "last_add_at": NOW}
    assert view("wmA", found(relation=relation))["relation"]["added_at"] == "2026-01-01T00:00:00Z"
    relation["createtime"] = 0
    assert view("wmA", found(relation=relation))["relation"]["added_at"] == "2026-03-02T10:00:12Z"


def test_every_documented_way_has_a_key() -> None:
    section = PLATFORM.read_text(encoding="utf-8").partition("### `add_way`")[2].partition("##")[0]
    documented = {int(number) for number in re.findall(r"\| (\d+) \|", section)}
    assert len(documented) > 20
    assert documented == set(ADD_WAYS)
    assert len(set(ADD_WAYS.values())) == len(ADD_WAYS)
    assert view("wmA", found(relation={"add_way": 99}))["relation"]["add_way_key"] == "other"


def test_tags_by_group_in_one_order() -> None:
    rows = [
        {"number": 2, "group_name": "Mine", "word": "golf"},
        {"number": 1, "group_name": "Stage", "word": "trial"},
        {"number": 1, "group_name": "Level", "word": "VIP"},
        {"number": 1, "group_name": "Stage", "word": "lead"},
        {"number": 7, "group_name": None, "word": None},
    ]
    for tags in (rows, rows[::-1]):
        got = view("wmA", found(tags=tags))["tags"]
        assert [(one["group"], [tag["name"] for tag in one["tags"]]) for one in got] == [
            ("Level", ["VIP"]),
            ("Stage", ["lead", "trial"]),
            ("Mine", ["golf"]),
            (None, [None]),
        ]
        assert got[-1]["tags"][0]["type_key"] == "other"


@pytest.mark.parametrize(
    ("lost_by", "allowed"),
    [
        ("customer", True),
        ("employee", False),
        ("transfer", False),
        ("left", False),
        ("reconcile", False),
        (None, False),
    ],
)
def test_the_rule_of_access(lost_by: str | None, allowed: bool) -> None:
    assert may_see(NOW, lost_by) is allowed
    assert may_see(None, lost_by) is True


def test_nothing_is_shown_of_what_was_not_read() -> None:
    with pytest.raises(ValueError, match="nothing to see"):
        view("wmA", found(fetched_at=None))
