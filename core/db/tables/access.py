"""Tokens of the platform and logins of employees."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from core.db.tables.base import metadata
from core.db.types import Id, Instant

credential = Table(
    "credential",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("name", Id(), primary_key=True, comment="Whose secret: agent:<agentid>"),
    Column("kind", String(32), primary_key=True, comment="access_token, jsapi_ticket or agent_ticket"),
    Column("value", LargeBinary, comment="Encrypted with a key derived from the service's secret_key"),
    Column("fingerprint", String(64), nullable=False, comment="Digest of the secret it was made with"),
    Column("expires_at", Instant(), comment="When it stops working"),
    Column("refreshed_at", Instant(), comment="When it was fetched"),
    Column("failed_code", Integer, comment="Error code of the last attempt, if it failed"),
    Column("retry_at", Instant(), comment="Do not ask again before"),
    Column("leased_until", Instant(), comment="Somebody is fetching it until then"),
    Column("leased_by", String(64), comment="Who"),
    comment="Cache of access tokens and tickets, shared by all processes",
)

session = Table(
    "session",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the opaque id in the browser's cookie"),
    Column("public_id", String(64), nullable=False, comment="What the page sends along to name its session; no secret"),
    Column("corpid", Id(), nullable=False, comment="The corporation"),
    Column("agentid", BigInteger, nullable=False, comment="The app whose page it is"),
    Column("userid", Id(), nullable=False, comment="The employee who is logged in, in lower case"),
    Column("created_at", Instant(), nullable=False, comment="When the login succeeded"),
    Column("expires_at", Instant(), nullable=False, comment="When it ends by itself"),
    Column("ended_at", Instant(), comment="When another login, or the employee's leaving, ended it"),
    Index(None, "expires_at"),
    comment="Logins of employees to the sidebar",
)

login_state = Table(
    "login_state",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the state that came back from the platform"),
    Column("corpid", Id(), nullable=False, comment="The corporation"),
    Column("agentid", BigInteger, nullable=False, comment="The app"),
    Column("used_at", Instant(), nullable=False, comment="When it came back"),
    Column("expires_at", Instant(), nullable=False, comment="Until when it would be taken if it were not here"),
    Index(None, "expires_at"),
    comment="States of logins that came back, each of which counts once",
)
