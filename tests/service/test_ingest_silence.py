"""What logs and metrics tell: that something happened, and never what was in it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from core.eventlog.base import LogUnavailable
from core.settings import parse
from ingest.callback import LARGEST_BODY
from ingest.keys import KeyRing
from tests.support.callbacks import (
    Ingest,
    Socket,
    encoded,
    get,
    ingest,
    on_uvloop,
    post,
    sealed,
    signed_ciphertext,
    status,
)
from tests.support.logging import captured
from tests.support.waiting import until
from wecom.callback import encrypt_of
from wecom.crypto import CallbackCrypto

CORPID, NAME, FOREIGN = "wwcanary", "contacts", "wwForeignCanary"
TOKEN, KEY = "CanaryToken", "CanaryKeyCanaryKeyCanaryKeyCanaryKeyCanaryK"
OLD_TOKEN, OLD_KEY = "OldCanaryToken", "OldCanaryKeyOldCanaryKeyOldCanaryKeyOldCana"
NONCE, TIMESTAMP = "CanaryNonce", "1700000123"
PERSON, PHONE = "张三Canary", "13800001234"
DOCUMENT = f"<xml><Event>x</Event><Name>{PERSON}</Name><Mobile>{PHONE}</Mobile></xml>".encode()
PATH = f"/callback/{CORPID}/{NAME}"

SETTINGS = parse(
    {
        "service": {"secret_key": "k" * 32, "public_url": "https://crm.example.com"},
        "corp": [
            {
                "corpid": CORPID,
                "agent": [{"agentid": 1, "secret": "CanarySecret", "customer_data": True}],
                "callback": [
                    {
                        "name": NAME,
                        "token": TOKEN,
                        "encoding_aes_key": KEY,
                        "previous": {"token": OLD_TOKEN, "encoding_aes_key": OLD_KEY},
                    }
                ],
            }
        ],
    },
    {},
)


async def every_outcome(service: Ingest) -> list[str]:
    """One request for each thing that can become of it; every secret that was used."""
    crypto = CallbackCrypto(TOKEN, KEY, CORPID)
    delivery = sealed(DOCUMENT, crypto, timestamp=TIMESTAMP, nonce=NONCE)
    good = delivery.request(PATH)
    encrypt = encrypt_of(delivery.body).decode()
    number = crypto.encrypt(b"1616140317555161061")
    echo = {**signed_ciphertext(number, crypto).query, "echostr": number}
    replay = {**delivery.query, "echostr": encrypt}
    query = encoded(delivery.query)

    def sent(document: CallbackCrypto) -> bytes:
        return sealed(DOCUMENT, document, timestamp=TIMESTAMP, nonce=NONCE).request(PATH)

    requests = {
        good: 200,
        sent(CallbackCrypto(OLD_TOKEN, OLD_KEY, CORPID)): 200,
        get(PATH, encoded(echo)): 200,
        get(PATH, encoded(replay)): 403,
        sent(CallbackCrypto(TOKEN, KEY, FOREIGN)): 403,
        sent(CallbackCrypto("x", KEY, CORPID)): 403,
        signed_ciphertext("not base64!", crypto).request(PATH): 403,
        signed_ciphertext("AAAA", crypto).request(PATH): 403,
        signed_ciphertext("A" * 86 + "==", crypto).request(PATH): 403,
        post(PATH, query + "&nonce=" + NONCE, delivery.body): 400,
        post(PATH, query, b"<!DOCTYPE x>" + delivery.body): 400,
        post(PATH, query, DOCUMENT): 400,
        post(PATH, query, delivery.body.ljust(LARGEST_BODY + 1)): 413,
        good.replace(b"POST", b"PUT", 1): 405,
        delivery.request(f"/callback/{CORPID}/{NAME}x"): 404,
        delivery.request("/" + quote(PERSON)): 404,
        delivery.request(PATH, f"Expect: {PERSON.encode().decode('latin-1')}"): 417,
        delivery.request(PATH, f"{TOKEN} {PHONE}"): 400,
        good.replace(b"HTTP/1.1", b"HTTP/1.1 " + NONCE.encode()): 400,
    }
    for request, expected in requests.items():
        assert await status(service, request) == expected
    for failure in (LogUnavailable("disk"), RuntimeError(f"{TOKEN} {PERSON}"), ValueError(DOCUMENT)):
        service.log.failure = failure
        assert await status(service, good) is None
    service.log.failure = None
    async with Socket(service) as socket:
        socket.send(good[:-1])
        await until(lambda: service.in_hand == 1)
    await until(lambda: "disconnected" in service.outcomes())
    assert await status(service, good) == 200
    parameters = {*delivery.query.values(), *echo.values(), encrypt, number}
    quoted = {quote(value, safe="") for value in parameters}
    return sorted(
        {TOKEN, KEY, OLD_TOKEN, OLD_KEY, PERSON, quote(PERSON), PHONE, FOREIGN, "161614", *parameters, *quoted}
    )


@pytest.mark.parametrize("libraries", [False, True], ids=["ours", "and the libraries'"])
@on_uvloop
async def test_nothing_that_came_in_comes_out(libraries: bool, tmp_path: Path) -> None:
    with captured("DEBUG", libraries=libraries) as stream:
        async with ingest(tmp_path, keys=KeyRing.from_settings(SETTINGS)) as service:
            secrets = await every_outcome(service)
            told = stream.getvalue() + service.metrics.render().decode() + str(service.health.ready())
            outcomes = service.outcomes()
    assert [secret for secret in secrets if secret in told] == []
    # And something was told.
    assert {"callback.malformed", "callback.failed", "callback.not_kept", "callback.kept_again"} <= set(told.split())
    assert outcomes == {
        "accepted": 3,
        "verified": 1,
        "echo": 1,
        "receiveid": 1,
        "signature": 1,
        "base64": 1,
        "length": 1,
        "padding": 1,
        "malformed": 3,
        "too_large": 1,
        "method": 1,
        "unknown_address": 1,
        "not_kept": 1,
        "failed": 2,
        "disconnected": 1,
    }
