"""The table ``credential``: tokens and tickets shared by all processes, encrypted with the service's key."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db.engine import Database, is_transient
from core.db.tables import credential
from core.db.upsert import insert_ignore
from core.logs import describe, get_logger
from wecom.tokens import Secret, Stored, StoreUnavailable

_log = get_logger(__name__)
_NONCE = 12
_TAG = 16


class CredentialStore:
    """The ``TokenStore`` of the running service."""

    def __init__(self, database: Database, secret_key: str) -> None:
        """``secret_key`` is the service's; another one makes everything stored unreadable, and it is fetched anew."""
        self._database = database
        self._key: bytes = HKDF(secret_key.encode(), 32, b"", SHA256, context=b"wecom-crm credential")
        self._me = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"

    async def load(self, secret: Secret, kind: str) -> Stored | None:
        """See ``TokenStore``."""
        async with self._reading() as conn:
            now = await self._database.clock(conn)
            row = (await conn.execute(select(credential).where(_row(secret, kind)))).one_or_none()
        if row is None or row.fingerprint != secret.fingerprint:
            return None
        value = self._open(secret, kind, row.value) if row.value is not None else None
        return Stored(
            value=value,
            lifetime=(row.expires_at - row.refreshed_at).total_seconds() if row.expires_at else 0.0,
            seconds_left=(row.expires_at - now).total_seconds() if row.expires_at else 0.0,
            refused_code=row.failed_code,
            refused_for=(row.retry_at - now).total_seconds() if row.retry_at else 0.0,
        )

    async def lease(self, secret: Secret, kind: str, seconds: float) -> bool:
        """See ``TokenStore``."""
        t = credential.c
        async with self._writing() as conn:
            now = await self._database.clock(conn)
            await self._insert(conn, secret, kind)
            taken = await conn.execute(
                update(credential)
                .where(_row(secret, kind), or_(t.leased_until.is_(None), t.leased_until < now))
                .values(leased_until=now + timedelta(seconds=seconds), leased_by=self._me)
            )
            return bool(taken.rowcount == 1)

    async def save(self, secret: Secret, kind: str, value: str, lifetime: float) -> None:
        """See ``TokenStore``."""
        async with self._writing() as conn:
            now = await self._database.clock(conn)
            # There is no row when the database was away at the time of the lease.
            await self._insert(conn, secret, kind)
            await conn.execute(
                update(credential)
                .where(_row(secret, kind))
                .values(
                    value=self._seal(secret, kind, value),
                    fingerprint=secret.fingerprint,
                    expires_at=now + timedelta(seconds=lifetime),
                    refreshed_at=now,
                    failed_code=None,
                    retry_at=None,
                    leased_until=None,
                    leased_by=None,
                )
            )

    async def refuse(self, secret: Secret, kind: str, code: int, seconds: float) -> None:
        """See ``TokenStore``."""
        async with self._writing() as conn:
            now = await self._database.clock(conn)
            await self._insert(conn, secret, kind)
            await conn.execute(
                update(credential)
                .where(_row(secret, kind))
                .values(
                    value=None,
                    fingerprint=secret.fingerprint,
                    expires_at=None,
                    failed_code=code,
                    retry_at=now + timedelta(seconds=seconds),
                    leased_until=None,
                    leased_by=None,
                )
            )

    async def release(self, secret: Secret, kind: str) -> None:
        """See ``TokenStore``."""
        async with self._writing() as conn:
            await conn.execute(
                update(credential)
                .where(_row(secret, kind), credential.c.leased_by == self._me)
                .values(leased_until=None, leased_by=None)
            )

    async def _insert(self, conn: AsyncConnection, secret: Secret, kind: str) -> None:
        row = {"corpid": secret.corpid, "name": secret.name, "kind": kind, "fingerprint": secret.fingerprint}
        await conn.execute(insert_ignore(self._database.dialect, credential), [row])

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with _Passing():
            async with self._database.read() as conn:
                yield conn

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        with _Passing():
            async with self._database.write() as conn:
                yield conn

    def _seal(self, secret: Secret, kind: str, value: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=nonce)
        # Bound to its row: a value copied to another corp's row does not open there.
        cipher.update(_place(secret, kind))
        text, tag = cipher.encrypt_and_digest(value.encode())
        return nonce + tag + text

    def _open(self, secret: Secret, kind: str, sealed: bytes) -> str | None:
        try:
            cipher = AES.new(self._key, AES.MODE_GCM, nonce=sealed[:_NONCE])
            cipher.update(_place(secret, kind))
            return cipher.decrypt_and_verify(sealed[_NONCE + _TAG :], sealed[_NONCE : _NONCE + _TAG]).decode()
        except ValueError:
            _log.warning("credential.unreadable", corpid=secret.corpid, name=secret.name, kind=kind)
            return None


class _Passing:
    """Turns a database that is away into ``StoreUnavailable``."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if error is not None and is_transient(error):
            raise StoreUnavailable(describe(error)) from None


def _row(secret: Secret, kind: str) -> ColumnElement[bool]:
    t = credential.c
    return and_(t.corpid == secret.corpid, t.name == secret.name, t.kind == kind)


def _place(secret: Secret, kind: str) -> bytes:
    return f"{secret.corpid}\0{secret.name}\0{kind}".encode()
