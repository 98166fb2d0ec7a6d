"""Sessions of the sidebar, and the states of its logins.

Revision 0002
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The server's default may be a character set without Chinese.
_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def _id_type() -> sa.String:
    """An id: compared byte by byte, trailing blanks included, which each database calls something else."""
    dialect: Any = op.get_context().dialect
    if dialect.name == "postgresql":
        return sa.String(128, collation="C")
    if dialect.name in {"mysql", "mariadb"}:
        return sa.String(128, collation="utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin")
    return sa.String(128)


def _id(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, _id_type(), nullable=False, comment=comment)


def _word(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String(64), nullable=False, comment=comment)


def _at(name: str, comment: str, *, nullable: bool = False) -> sa.Column[Any]:
    precise = mysql.DATETIME(fsp=6)
    kind = sa.DateTime(timezone=True).with_variant(precise, "mysql", "mariadb").with_variant(sa.DateTime(), "sqlite")
    return sa.Column(name, kind, nullable=nullable, comment=comment)


def upgrade() -> None:
    op.create_table(
        "session",
        _word("digest", "SHA-256 of the opaque id in the browser's cookie"),
        _word("public_id", "What the page sends along to name its session; no secret"),
        _id("corpid", "The corporation"),
        sa.Column("agentid", sa.BigInteger(), nullable=False, comment="The app whose page it is"),
        _id("userid", "The employee who is logged in, in lower case"),
        _at("created_at", "When the login succeeded"),
        _at("expires_at", "When it ends by itself"),
        _at("ended_at", "When another login, or the employee's leaving, ended it", nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_session")),
        comment="Logins of employees to the sidebar",
        **_MYSQL,
    )
    op.create_index(op.f("ix_session_expires_at"), "session", ["expires_at"])
    op.create_table(
        "login_state",
        _word("digest", "SHA-256 of the state that came back from the platform"),
        _id("corpid", "The corporation"),
        sa.Column("agentid", sa.BigInteger(), nullable=False, comment="The app"),
        _at("used_at", "When it came back"),
        _at("expires_at", "Until when it would be taken if it were not here"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_state")),
        comment="States of logins that came back, each of which counts once",
        **_MYSQL,
    )
    op.create_index(op.f("ix_login_state_expires_at"), "login_state", ["expires_at"])


def downgrade() -> None:
    op.drop_table("login_state")
    op.drop_table("session")
