"""The corps of the demonstration and the configuration file that connects the product to them."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Sequence
from pathlib import Path

from wecom.simulator.population import CorpSetup
from wecom.simulator.state import Agent, Callback

WRITTEN_BY = "# Written by wecom-crm demo, which removes this folder when it starts again."
AGENTID = 1000002
"""Both corps use the same AgentId, and the same userids: ids mean nothing outside their corp."""

_ALPHABET = string.ascii_letters + string.digits
_NAMES = {"wwdemoaaaaaaaaaaaa": "Plum Garden Tea", "wwdemobbbbbbbbbbbb": "North Gate Books"}


def make_corps() -> tuple[CorpSetup, ...]:
    """Two corps that share every id they can; their secrets are made anew for every run."""
    return tuple(
        CorpSetup(
            corpid,
            name,
            agents=(Agent(AGENTID, _random(43)),),
            callbacks=(Callback("contacts", _random(24), _random(42) + "A", AGENTID),),
        )
        for corpid, name in _NAMES.items()
    )


def write_config(path: Path, corps: Sequence[CorpSetup], api_base_url: str, port: int, admin_port: int) -> None:
    """A configuration file as a user would write it, readable by its owner only.

    The sidebar is seen through the simulator, whose client page shows it as the real client does.
    """
    lines = [
        WRITTEN_BY,
        "[service]",
        f"public_url = {_quote(api_base_url)}",
        f"port = {port}",
        f"admin_port = {admin_port}",
        f"secret_key = {_quote(_random(48))}",
        f"data_dir = {_quote(str(path.parent / 'data'))}",
        "",
        "[wecom]",
        f"api_base_url = {_quote(api_base_url)}",
        f"authorize_url = {_quote(f'{api_base_url}/connect/oauth2/authorize')}",
    ]
    for corp in corps:
        lines += ["", "[[corp]]", f"corpid = {_quote(corp.corpid)}", f"name = {_quote(corp.name)}"]
        for callback in corp.callbacks:
            lines += [
                *("", "[[corp.callback]]", f"name = {_quote(callback.name)}", f"token = {_quote(callback.token)}"),
                f"encoding_aes_key = {_quote(callback.encoding_aes_key)}",
            ]
        for agent in corp.agents:
            lines += [
                *("", "[[corp.agent]]", f"agentid = {agent.agentid}", f"secret = {_quote(agent.secret)}"),
                f"customer_data = {json.dumps(agent.customer_data)}",
            ]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _quote(text: str) -> str:
    # JSON's strings are basic strings of TOML.
    return json.dumps(text, ensure_ascii=False)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
