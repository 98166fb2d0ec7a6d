"""Which pairs belong to which address."""

from __future__ import annotations

from typing import Any

from core.settings import parse
from ingest.keys import KeyRing
from tests.support.callbacks import KEY, OTHER_KEY

AGENT = {"agentid": 1, "secret": "s", "customer_data": True}


def callback(name: str, token: str, previous: dict[str, str] | None = None) -> dict[str, Any]:
    pair = {"name": name, "token": token, "encoding_aes_key": KEY}
    return pair if previous is None else pair | {"previous": previous}


KEYS = KeyRing.from_settings(
    parse(
        {
            "service": {"secret_key": "k" * 32, "public_url": "https://crm.example.com"},
            "corp": [
                {
                    "corpid": "ww1",
                    "agent": [AGENT],
                    "callback": [
                        callback("contacts", "newtoken", {"token": "oldtoken", "encoding_aes_key": OTHER_KEY}),
                        callback("app", "apptoken"),
                    ],
                },
                {"corpid": "ww2", "agent": [AGENT], "callback": [callback("contacts", "newtoken")]},
            ],
        },
        {},
    )
)


def signatures(corpid: str, name: str | None) -> dict[str, list[str]]:
    """The pairs of an address, told apart by what they sign."""
    found = KEYS.callbacks(corpid, name)
    assert found is not None
    return {name: [crypto.signature("1", "2", "x") for crypto in cryptos] for name, cryptos in found.items()}


def test_an_address_with_a_name_has_its_own_pairs_the_present_one_first() -> None:
    contacts = signatures("ww1", "contacts")["contacts"]
    assert len(set(contacts)) == 2
    assert contacts[0] == signatures("ww2", "contacts")["contacts"][0]
    assert set(signatures("ww1", "app")) == {"app"}


def test_an_address_without_a_name_has_all_of_the_corp_and_nobody_elses() -> None:
    assert signatures("ww1", None) == signatures("ww1", "contacts") | signatures("ww1", "app")
    assert set(signatures("ww2", None)) == {"contacts"}


def test_other_addresses_have_none() -> None:
    assert KEYS.callbacks("ww3", None) is None
    assert KEYS.callbacks("ww1", "other") is None
    assert KEYS.callbacks("ww2", "app") is None
    assert KEYS.callbacks("WW1", "contacts") is None


def test_each_pair_opens_what_the_same_pair_sealed() -> None:
    found = KEYS.callbacks("ww1", "contacts")
    assert found is not None
    new, old = found["contacts"]
    assert old.decrypt(old.encrypt(b"1").encode()) == b"1"
    assert new.decrypt(new.encrypt(b"2").encode()) == b"2"
