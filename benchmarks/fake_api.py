"""The platform's API with nothing behind it, a process of its own: ``python -m benchmarks.fake_api``.

Every customer is had by one employee, with another remark in each answer, so that there is always something to write.
``/counts`` tells how often customers were asked for. It prints its port as one line of JSON when it listens.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal

import uvloop
from aiohttp import web

HOST = "127.0.0.1"
EMPLOYEE = "zhangsan"
_TAGS = [
    {"type": 1, "tag_id": f"et{number}", "group_name": "客户等级", "tag_name": name}
    for number, name in enumerate(("重要", "核心"))
]


async def serve(stopping: asyncio.Event) -> None:
    """Answer until told to stop."""
    asked = itertools.count(1)
    calls = 0

    async def token(_request: web.Request) -> web.Response:
        return _json({"errcode": 0, "errmsg": "ok", "access_token": "a-token", "expires_in": 7200})

    async def customer(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return _json(_customer(request.query["external_userid"], next(asked)))

    async def employee(request: web.Request) -> web.Response:
        return _json({"errcode": 0, "errmsg": "ok", "userid": request.query["userid"], "name": "Li", "status": 1})

    async def counts(_request: web.Request) -> web.Response:
        return _json({"calls": calls})

    app = web.Application()
    app.router.add_get("/cgi-bin/gettoken", token)
    app.router.add_get("/cgi-bin/externalcontact/get", customer)
    app.router.add_get("/cgi-bin/user/get", employee)
    app.router.add_get("/counts", counts)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
        await stopping.wait()
    finally:
        await runner.cleanup()


def _customer(external_userid: str, number: int) -> dict[str, object]:
    contact = {"external_userid": external_userid, "name": "🌸小伟", "type": 1, "gender": 1, "avatar": "https://a/0"}
    follow = {
        "userid": EMPLOYEE,
        "remark": f"remark {number}",
        "description": "",
        "createtime": 1_760_000_000,
        "tags": _TAGS,
        "remark_mobiles": ["13800000000"],
        "add_way": 1,
        "oper_userid": EMPLOYEE,
    }
    return {"errcode": 0, "errmsg": "ok", "external_contact": contact, "follow_user": [follow]}


def _json(body: dict[str, object]) -> web.Response:
    return web.Response(body=json.dumps(body, ensure_ascii=False).encode(), content_type="application/json")


async def _main() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await serve(stopping)
    print(json.dumps({}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
