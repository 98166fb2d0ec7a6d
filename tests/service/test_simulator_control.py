"""Changes by hand over HTTP, and who may not make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.simulators import STAGE, Clock, tiny_world
from wecom.simulator.actions import ACTIONS
from wecom.simulator.actions_objects import ACTIONS as OBJECT_ACTIONS
from wecom.simulator.server import Simulator
from wecom.simulator.truth import truth_of
from wecom.simulator.world import WELCOME_CODE

pytestmark = pytest.mark.asyncio

PAIR = {"customer": "wmA", "employee": "zhangsan"}


class Bench:
    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.simulator = simulator
        self.session = session
        self.clock = clock
        self.status = 200

    async def get(self, path: str = "", **kwargs: Any) -> dict[str, Any]:
        async with self.session.get(f"{self.simulator.url}/simulator{path}", **kwargs) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == kwargs.get("expect", 200), answer
            return answer

    async def post(self, path: str, fields: dict[str, Any] | None = None, **kwargs: Any) -> tuple[int, dict[str, Any]]:
        if fields is not None:
            kwargs["json"] = fields
        async with self.session.post(f"{self.simulator.url}/simulator{path}", **kwargs) as response:
            return response.status, await response.json()

    async def act(self, action: str, corpid: str = "ww1", **fields: Any) -> dict[str, Any]:
        status, answer = await self.post(f"/corps/{corpid}/{action}", fields)
        assert status == 200, answer
        return answer

    async def refused(self, action: str, corpid: str = "ww1", **fields: Any) -> str:
        status, answer = await self.post(f"/corps/{corpid}/{action}", fields)
        assert status == 400, answer
        return str(answer["error"])


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    receiver = web.Application()
    receiver.router.add_post("/callback/{corpid}/{name}", accept)
    runner = web.AppRunner(receiver, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clock = Clock()
    async with Simulator(tiny_world(clock)) as simulator, aiohttp.ClientSession() as session:
        simulator.callback_base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield Bench(simulator, session, clock)
    await runner.cleanup()


async def test_every_action_by_hand(bench: Bench) -> None:
    """One after the other; each says what was pushed and what became of it."""
    pushed = {}
    for action, fields in (
        ("half-add", PAIR),
        ("add", PAIR | {"state": "shop 7", "add_way": 16}),
        ("edit", PAIR | {"remark": "VIP", "remark_mobiles": ["13800000001"]}),
        ("tag", PAIR | {"tag": "Stage/lead"}),
        ("tag", PAIR | {"group": "mine", "name": "tea"}),
        ("untag", PAIR | {"tag": STAGE.tag_id}),
        ("transfer-fail", PAIR | {"reason": "customer_refused"}),
        ("approve-archive", PAIR),
        ("transfer", PAIR | {"to": "LiSi"}),
        ("customer-delete", PAIR | {"employee": "LiSi"}),
        ("add", PAIR | {"employee": "LiSi"}),
        ("delete", PAIR | {"employee": "LiSi"}),
    ):
        bench.clock.tick()
        answer = await bench.act(action, **fields)
        assert WELCOME_CODE not in str(answer)
        assert [push["outcome"] for push in answer["pushes"]] == ["acknowledged"] * len(answer["changes"])
        assert answer["pushes"][0]["attempts"][0]["outcome"] == 200
        pushed[action] = [change["change"] for change in answer["changes"]]
    assert pushed == {
        "half-add": ["add_half_external_contact"],
        "add": ["add_external_contact"],
        "edit": ["edit_external_contact"],
        "tag": ["edit_external_contact"],
        "untag": ["edit_external_contact"],
        "transfer-fail": ["transfer_fail"],
        "approve-archive": ["msg_audit_approved"],
        "transfer": ["del_external_contact", "add_external_contact"],
        "customer-delete": ["del_follow_user"],
        "delete": ["del_external_contact"],
    }
    assert pushed.keys() | {"profile"} == ACTIONS.keys() - OBJECT_ACTIONS.keys()
    truth = truth_of(bench.simulator.world)
    assert {by for _, by in truth.endings.values()} == {"transfer", "employee"}
    assert bench.simulator.pusher.counts.acknowledged == 13


async def test_every_action_on_other_objects(bench: Bench) -> None:
    """As forms have it: lists with commas, numbers as text."""
    done: dict[str, list[str]] = {}

    async def act(action: str, **fields: Any) -> str:
        bench.clock.tick()
        status, answer = await bench.post(f"/corps/ww1/{action}", data=aiohttp.FormData(fields))
        assert status == 200, answer
        assert all(push["outcome"] == "acknowledged" for push in answer["pushes"])
        done.setdefault(action, []).extend(f"{one['event']} {one['change']}" for one in answer["changes"])
        return str(answer["changes"][0]["object_id"]) if answer["changes"] else ""

    await bench.act("add", customer="wmA", employee="wangwu")
    await act("department-create", name="Sales", order="3", leaders="LiSi")
    await act("department-create", department="7", name="East", parentid="2")
    await act("department-edit", department="7", name="Far East", parentid="1")
    await act("employee-create", employee="Chen", name="Chen Yi", departments="2,7", leaders="LiSi,wangwu")
    await act("employee-edit", employee="chen", position="Buyer", departments="2", status="2", leaders="")
    await act("employee-tag-create", name="night")
    await act("employee-tag-edit", tagid="1", name="late", add_users="chen,LiSi", add_parties="7")
    await act("employee-rename", employee="chen", to="Chen.Yi")
    await act("employee-delete", employee="Chen.Yi")
    await act("employee-tag-delete", tagid="1")
    await act("department-delete", department="7")
    group = await act("tag-group-create", name="Fair", tags="hot,cold", order="4")
    await act("tag-group-edit", group="Fair", name="Autumn fair")
    await act("tag-create", group=group, name="warm")
    await act("tag-edit", tag="Autumn fair/warm", name="lukewarm", order="9")
    await act("tag-shuffle", group=group)
    await act("tag-shuffle")
    await act("tag-delete", tag="lukewarm")
    await act("tag-group-delete", group=group)
    chat = await act("group-create", owner="LiSi", members="wmA", name="Tea", notice="hello", admins="LiSi")
    await act("group-join", chat=chat, members="woB,wangwu", scene="3", state="shop")
    await act("group-leave", chat=chat, members="woB", removed="1")
    await act("group-edit", chat=chat, owner="wangwu")
    await act("group-edit", chat=chat, name="")
    await act("group-dismiss", chat=chat)
    assert done == {
        "department-create": ["change_contact create_party"] * 2,
        "department-edit": ["change_contact update_party"],
        "employee-create": ["change_contact create_user"],
        "employee-edit": ["change_contact update_user"],
        "employee-tag-create": [],
        "employee-tag-edit": ["change_contact update_tag"],
        "employee-rename": ["change_contact update_user"],
        "employee-delete": ["change_contact delete_user", "change_contact update_tag"],
        "employee-tag-delete": ["change_contact update_tag"],
        "department-delete": ["change_contact delete_party"],
        "tag-group-create": ["change_external_tag create"] * 3,
        "tag-group-edit": ["change_external_tag update"],
        "tag-create": ["change_external_tag create"],
        "tag-edit": ["change_external_tag update"],
        "tag-shuffle": ["change_external_tag shuffle"] * 2,
        "tag-delete": ["change_external_tag delete"],
        "tag-group-delete": ["change_external_tag delete"],
        "group-create": ["change_external_chat create"],
        "group-join": ["change_external_chat update"],
        "group-leave": ["change_external_chat update"],
        "group-edit": ["change_external_chat update"] * 2,
        "group-dismiss": ["change_external_chat dismiss"],
    }
    assert done.keys() == OBJECT_ACTIONS.keys()
    truth = await bench.get("/truth")
    assert truth["employees"][0] == {"corpid": "ww1", "userid": "chen.yi", "there": False}
    assert truth["group_chats"] == [{"corpid": "ww1", "chat_id": chat, "there": False}]
    assert {(row["department_id"], row.get("name")) for row in truth["departments"]} == {(2, "Sales"), (7, None)}


async def test_what_is_wrong_with_other_objects_is_said_in_words(bench: Bench) -> None:
    assert "employee is missing" in await bench.refused("employee-create", name="Chen")
    assert "list of whole numbers" in await bench.refused("employee-create", employee="Chen", departments="Sales")
    assert "no department 9" in await bench.refused("employee-create", employee="Chen", departments=[9])
    assert "list of texts" in await bench.refused("employee-edit", employee="LiSi", leaders=[1])
    assert "department is missing" in await bench.refused("department-delete")
    assert "no employee tag 4" in await bench.refused("employee-tag-edit", tagid=4, name="x")
    assert "no group of tags 'Fair'" in await bench.refused("tag-create", group="Fair", name="x")
    assert "one of owner, name and notice" in await bench.refused("group-edit", chat="wr1", name="x", notice="y")
    assert "no group 'wr1'" in await bench.refused("group-edit", chat="wr1", name="x")
    assert "whole number" in await bench.refused("group-join", chat="wr1", members=["wmA"], scene="code")
    assert truth_of(bench.simulator.world).departments == {}


async def test_what_wecom_does_not_push_says_so(bench: Bench) -> None:
    await bench.act("add", **PAIR)
    for action, fields in (
        ("edit", PAIR | {"remark_mobiles": ["13800000001"]}),
        ("profile", {"customer": "wmA", "name": "Annabel", "gender": 1}),
        ("employee-edit", {"employee": "LiSi", "position": "Buyer"}),
        ("department-edit", {"department": 1, "name": "All"}),
        ("employee-tag-create", {"name": "night"}),
    ):
        answer = await bench.act(action, **fields)
        assert (answer["changes"], answer["pushes"]) == ([], [])
        assert "pushes nothing" in answer["note"]
    assert bench.simulator.world.corp("ww1").customer("wmA").name == "Annabel"


async def test_forms_do_as_well_as_json(bench: Bench) -> None:
    form = aiohttp.FormData({**PAIR, "add_way": "16"})
    status, _ = await bench.post("/corps/ww1/add", data=form)
    assert status == 200
    form = aiohttp.FormData({**PAIR, "remark": "VIP", "remark_mobiles": "13800000001, 13800000002"})
    status, _ = await bench.post("/corps/ww1/edit", data=form)
    assert status == 200
    relation = bench.simulator.world.corp("ww1").find("wmA", "ZhangSan")
    assert relation is not None
    assert (relation.add_way, relation.remark_mobiles) == (16, ("13800000001", "13800000002"))


async def test_somebody_new_is_made_on_the_way(bench: Bench) -> None:
    answer = await bench.act("add", employee="LiSi", name="Carl", type=2)
    customer = answer["changes"][0]["customer"]
    assert bench.simulator.world.corp("ww1").customer(customer).name == "Carl"
    answer = await bench.act("add", employee="LiSi", customer="wmNew", name="Dora")
    assert answer["changes"][0]["customer"] == "wmNew"
    before = len(bench.simulator.world.corp("ww1").customers)
    assert "give a name" in await bench.refused("add", employee="LiSi", customer="wmTypo")
    assert "no employee" in await bench.refused("add", employee="nobody", name="Eve")
    assert len(bench.simulator.world.corp("ww1").customers) == before


async def test_what_is_wrong_is_said_in_words(bench: Bench) -> None:
    assert "there are ww1, ww2" in await bench.refused("add", corpid="ww9", **PAIR)
    assert "customer-delete" in await bench.refused("remove", **PAIR)
    assert "employee is missing" in await bench.refused("delete", customer="wmA")
    assert "not colour" in await bench.refused("add", **PAIR, colour="red")
    assert "whole number" in await bench.refused("add", **PAIR, add_way="often")
    assert "must be a text" in await bench.refused("add", customer="wmA", employee=7)
    assert "does not have" in await bench.refused("edit", **PAIR, remark="x")
    await bench.act("add", **PAIR)
    assert "list of texts" in await bench.refused("edit", **PAIR, remark_mobiles=[1])
    assert "in this second; wait one" in await bench.refused("delete", **PAIR)
    assert "no tag 'leed'" in await bench.refused("tag", **PAIR, tag="leed")
    assert "named by tag" in await bench.refused("tag", **PAIR)
    assert "has no" in await bench.refused("profile", customer="wmZ", name="x")
    status, answer = await bench.post("/corps/ww1/add", data="{", headers={"Content-Type": "application/json"})
    assert (status, answer["error"]) == (400, "the body is neither JSON nor a form")
    status, answer = await bench.post("/corps/ww1/add", json=[1])
    assert (status, answer["error"]) == (400, "the body must be a JSON object")


async def test_without_a_callback_address_nothing_happens(bench: Bench) -> None:
    bench.simulator.callback_base_url = None
    assert "without a callback address" in await bench.refused("add", **PAIR)
    assert truth_of(bench.simulator.world).relations == {}


async def test_the_overview_has_everything_but_secrets(bench: Bench) -> None:
    await bench.act("add", **PAIR)
    overview = await bench.get()
    one = overview["corps"][0]
    assert (one["corpid"], one["callbacks"], len(one["employees"])) == ("ww1", ["contacts"], 3)
    assert [customer["external_userid"] for customer in one["customers"]] == ["wmA"]
    assert one["customers"][0]["relations"][0]["employee"] == "ZhangSan"
    assert one["customers_without_relation"] == 2
    assert [group["name"] for group in one["tag_groups"]] == ["Stage", "Rules"]
    assert (len(one["departments"]), one["employee_tags"], one["groups"]) == (1, [], [])
    assert overview["pushes"]["acknowledged"] == 1
    assert overview["api"]["foreign"] == 0
    for corp in bench.simulator.world.corps.values():
        assert corp.agents[0].secret not in str(overview)
        assert corp.callbacks[0].encoding_aes_key not in str(overview)


async def test_the_truth_as_json(bench: Bench) -> None:
    await bench.act("add", **PAIR)
    await bench.act("tag", **PAIR, tag="lead")
    bench.clock.tick()
    await bench.act("customer-delete", **PAIR)
    truth = await bench.get("/truth")
    assert [(row["corpid"], row["userid"], row["name"]) for row in truth["customers"]] == [
        ("ww1", "wmA", "Anna of ww1")
    ]
    (relation,) = truth["relations"]
    assert (relation["follow_userid"], relation["lost_by"], relation["lost_at"]) == (
        *("zhangsan", "customer"),
        int(bench.clock.now),
    )
    assert truth["tags"][0]["tag_id"] == "etLead"


async def test_faults_by_hand(bench: Bench) -> None:
    status, answer = await bench.post(
        "/faults", {"duplicate": 0.1, "next": {"html": 2}, "rate_limit": {"ww1": 60}, "revoke": True}
    )
    assert status == 200
    assert answer == await bench.get("/faults")
    assert (answer["duplicate"], answer["next_answers"], answer["rate_limited"]) == (0.1, ["html"] * 2, {"ww1": 60.0})
    assert bench.simulator.counts.revocations == 1
    before = await bench.get("/faults")
    for fields, words in (
        ({"drop": 2}, "between 0 and 1"),
        ({"drop": 0.5, "nonsense": 1}, "no switch 'nonsense'"),
        ({"drop": 0.5, "next": {"nonsense": 1}}, "no answer 'nonsense'"),
        ({"drop": 0.5, "next": ["html"]}, "next must be an object"),
        ({"drop": 0.5, "rate_limit": {"ww9": 1}}, "no corp 'ww9'"),
        ({"drop": 0.5, "rate_limit": {"ww1": "long"}}, "numbers"),
    ):
        status, answer = await bench.post("/faults", fields)
        assert status == 400
        assert words in answer["error"]
    assert await bench.get("/faults") == before
    status, answer = await bench.post("/faults", data=aiohttp.FormData({"drop": "1"}))
    assert (status, "JSON" in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", "10.0.0.1", "["]
)
async def test_another_name_for_this_machine_is_refused(bench: Bench, host: str) -> None:
    """A foreign page reaches loopback under its own name when its DNS says so."""
    headers = {"Host": host}
    for path in ("", "/truth", "/faults"):
        async with bench.session.get(f"{bench.simulator.url}/simulator{path}", headers=headers) as response:
            assert response.status in {400, 403}
    status, _ = await bench.post("/corps/ww1/add", PAIR, headers=headers)
    assert status in {400, 403}
    assert truth_of(bench.simulator.world).relations == {}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "[::1]:8080"])
async def test_the_names_of_this_machine_are_served(bench: Bench, host: str) -> None:
    assert "corps" in await bench.get(headers={"Host": host})


async def test_a_page_can_not_drive_it_with_what_browsers_send_everywhere(bench: Bench) -> None:
    headers = {"Origin": "https://evil.example"}
    for body in (
        {"data": aiohttp.FormData(PAIR)},
        {"data": '{"customer": "wmA", "employee": "zhangsan"}', "headers": {"Content-Type": "text/plain"}},
        {"data": b""},
    ):
        kwargs: dict[str, Any] = {**body, "headers": {**body.get("headers", {}), **headers}}  # type: ignore[dict-item]
        status, answer = await bench.post("/corps/ww1/add", **kwargs)
        assert (status, "application/json" in answer["error"]) == (403, True)
    assert truth_of(bench.simulator.world).relations == {}
    # JSON across origins needs a preflight, and that is not answered.
    async with bench.session.options(
        f"{bench.simulator.url}/simulator/corps/ww1/add", headers={**headers, "Access-Control-Request-Method": "POST"}
    ) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers
    status, _ = await bench.post("/corps/ww1/add", PAIR, headers={"Origin": bench.simulator.url})
    assert status == 200
