"""What is wrong between values of the configuration that are right by themselves.

Looked for in the raw document, so that these problems are told together with those of single values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def contradictions(document: Mapping[str, Any]) -> list[str]:
    """Each contradiction as a whole sentence without any value."""
    problems: list[str] = []
    service = document.get("service")
    if isinstance(service, dict):
        port, admin_port = (str(service.get(key, default)) for key, default in (("port", 8080), ("admin_port", 8081)))
        if port == admin_port != "0":
            problems.append("[service] port and admin_port must differ: metrics do not belong on the public port")
    problems.extend(_kafka_contradictions(document.get("kafka")))
    corps = _tables(document, "corp")
    if not document.get("corp"):
        problems.append("there is no [[corp]] table; each corporation needs one")
    if _repeated(corps, "corpid"):
        problems.append("several [[corp]] tables have the same corpid; each corporation has one")
    for number, corp in enumerate(corps, 1):
        agents = _tables(corp, "agent")
        readers = sum(agent.get("customer_data") is True for agent in agents)
        if readers != 1:
            problems.append(
                f"[[corp]] number {number}: {readers} [[corp.agent]] tables have customer_data = true; "
                "exactly one app's secret reads customers"
            )
        for table, key, rows in (("callback", "name", _tables(corp, "callback")), ("agent", "agentid", agents)):
            if _repeated(rows, key):
                problems.append(f"[[corp]] number {number}: several [[corp.{table}]] tables have the same {key}")
    return problems


def _kafka_contradictions(table: Any) -> list[str]:
    if not isinstance(table, dict):
        return []
    problems: list[str] = []
    protocol = table.get("security_protocol", "PLAINTEXT")
    needed = [key for key in ("sasl_username", "sasl_password") if key not in table]
    if protocol in {"SASL_PLAINTEXT", "SASL_SSL"} and needed:
        problems.append(f"[kafka] security_protocol with SASL needs {' and '.join(needed)}")
    sasl, ssl = ([key for key in table if str(key).startswith(start)] for start in ("sasl_", "ssl_"))
    if protocol in {"PLAINTEXT", "SSL"} and sasl:
        problems.append(f"[kafka] {', '.join(sasl)}: without effect; security_protocol must be SASL_SSL for it")
    if protocol in {"PLAINTEXT", "SASL_PLAINTEXT"} and ssl:
        problems.append(f"[kafka] {', '.join(ssl)}: without effect; security_protocol must be SSL or SASL_SSL for it")
    if "ssl_keyfile" in table and "ssl_certfile" not in table:
        problems.append("[kafka] ssl_keyfile needs ssl_certfile beside it")
    return problems


def _tables(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    return [table for table in found if isinstance(table, dict)] if isinstance(found, list) else []


def _repeated(tables: list[dict[str, Any]], key: str) -> bool:
    values = [str(table[key]) for table in tables if key in table]
    return len(values) != len(set(values))
