"""The corps of the demonstration and the configuration file that connects the product to them."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

_ALPHABET = string.ascii_letters + string.digits
AGENTID = 1000002
"""Both corps use the same AgentId, and the same userids: ids mean nothing outside their corp."""


@dataclass(frozen=True, slots=True)
class DemoCorp:
    """One corp with one app and one callback configuration; the secrets are made anew for every run."""

    corpid: str
    name: str
    token: str
    encoding_aes_key: str
    secret: str
    callback: str = "contacts"
    agentid: int = AGENTID


def make_corps() -> tuple[DemoCorp, ...]:
    """Two corps that share every id they can."""
    names = {"wwdemoaaaaaaaaaaaa": "Plum Garden Tea", "wwdemobbbbbbbbbbbb": "North Gate Books"}
    return tuple(DemoCorp(corpid, name, _random(24), _random(42) + "A", _random(43)) for corpid, name in names.items())


def write_config(path: Path, corps: tuple[DemoCorp, ...], api_base_url: str, port: int, admin_port: int) -> None:
    """A configuration file as a user would write it, readable by its owner only."""
    folder = path.parent
    lines = [
        "[service]",
        f"public_url = {_quote(f'http://127.0.0.1:{port}')}",
        f"port = {port}",
        f"admin_port = {admin_port}",
        f"secret_key = {_quote(_random(48))}",
        f"data_dir = {_quote(str(folder / 'data'))}",
        "",
        "[wecom]",
        f"api_base_url = {_quote(api_base_url)}",
    ]
    for corp in corps:
        lines += [
            *("", "[[corp]]", f"corpid = {_quote(corp.corpid)}", f"name = {_quote(corp.name)}"),
            *("", "[[corp.callback]]", f"name = {_quote(corp.callback)}", f"token = {_quote(corp.token)}"),
            f"encoding_aes_key = {_quote(corp.encoding_aes_key)}",
            *("", "[[corp.agent]]", f"agentid = {corp.agentid}", f"secret = {_quote(corp.secret)}"),
            "customer_data = true",
        ]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quote(text: str) -> str:
    # JSON's strings are basic strings of TOML.
    return json.dumps(text, ensure_ascii=False)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
