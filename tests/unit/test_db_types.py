"""Column types: an instant is one moment on every database, an id is compared byte by byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateColumn

from core.db.tables import customer
from core.db.types import ID_LENGTH, Id, Instant

DIALECTS = (sqlite.dialect(), postgresql.dialect(), mysql.dialect())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_moment_without_a_time_zone_is_refused(dialect: Any) -> None:
    with pytest.raises(ValueError, match="time zone"):
        Instant().process_bind_param(datetime(2026, 3, 2, 10), dialect)  # noqa: DTZ001


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(
    moment=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(-timedelta(hours=5))]))
)
def test_a_moment_comes_back_as_it_went_in_and_in_utc(dialect: Any, moment: datetime) -> None:
    if not datetime(2, 1, 1, tzinfo=UTC) < moment < datetime(9998, 1, 1, tzinfo=UTC):
        return
    kept = Instant().process_bind_param(moment, dialect)
    found = Instant().process_result_value(kept, dialect)
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_nothing_stays_nothing(dialect: Any) -> None:
    assert Instant().process_bind_param(None, dialect) is None
    assert Instant().process_result_value(None, dialect) is None


def test_microseconds_are_asked_for_where_seconds_are_the_rule() -> None:
    column = CreateColumn(customer.c.fetched_at).compile(dialect=mysql.dialect())
    assert "DATETIME(6)" in str(column)


def collation(dialect: Any) -> str | None:
    found = Id().load_dialect_impl(dialect)
    return getattr(found, "collation", None)


def test_ids_have_a_binary_collation_without_padding() -> None:
    eight, maria = mysql.dialect(), mysql.dialect()
    maria.is_mariadb = True
    assert collation(postgresql.dialect()) == "C"  # type: ignore[no-untyped-call]
    assert collation(eight) == "utf8mb4_0900_bin"
    assert collation(maria) == "utf8mb4_nopad_bin"
    assert collation(sqlite.dialect()) is None
    assert Id().load_dialect_impl(maria).length == ID_LENGTH  # type: ignore[attr-defined]
