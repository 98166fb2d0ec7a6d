"""Views for analysts.

Their definitions are files in ``migrations/views/0004``: one query for all databases, with words in capitals for what
each database calls something else, and behind each column its type and meaning.

Revision 0004
"""

# The words that statements are put together from are this module's own.
# ruff: noqa: S608
from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FOLDER = Path(__file__).parents[1] / "views" / "0004"

# A view stands behind those it reads.
_VIEWS = (
    "v_employee_alias",
    "v_relation_change",
    "v_daily_customer_flow",
    "v_customer",
    "v_customer_follow",
    "v_customer_tag",
    "v_employee_portfolio",
    "v_group_chat",
    "v_event",
    "v_freshness",
    "v_customer_history",
    "v_customer_follow_history",
    "v_customer_follow_tag_history",
    "v_employee_history",
    "v_employee_department_history",
    "v_department_history",
    "v_tag_group_history",
    "v_tag_history",
    "v_group_chat_history",
    "v_group_chat_member_history",
)

# Of a phone number the first three and the last four characters, so that at least four stay hidden; of a short one the
# last two.
_MASKED = (
    "CASE WHEN {length}({x}) >= 11 THEN {head} WHEN {length}({x}) >= 7 THEN {tail}"
    " WHEN {x} <> '' THEN '****' ELSE {x} END"
)
_CONCAT = {
    "head": "concat(substr({x}, 1, 3), '****', substr({x}, char_length({x}) - 3))",
    "tail": "concat('****', substr({x}, char_length({x}) - 1))",
    "length": "char_length",
}
_PIPES = {
    "head": "substr({x}, 1, 3) || '****' || substr({x}, length({x}) - 3)",
    "tail": "'****' || substr({x}, length({x}) - 1)",
    "length": "length",
}


def _masked(words: dict[str, str], x: str) -> str:
    parts = {name: word.replace("{x}", x) for name, word in words.items()}
    return _MASKED.format(x=x, **parts)


_SQLITE = {
    "CHINA_DAY": r"date(\1, '+8 hours')",
    # 0 is no moment, though the first second of 1970 was one.
    "MOMENT": r"strftime('%Y-%m-%d %H:%M:%f000', nullif(\1, 0), 'unixepoch')",
    "DAYS_AGO": r"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-\1 days')",
    "DAY_BEFORE": r"strftime('%Y-%m-%d %H:%M:%f000', \1, '-1 days')",
    "SECONDS_SINCE": r"CAST((julianday('now') - julianday(\1)) * 86400 AS INTEGER)",
    "FOREVER": "'9999-12-31 00:00:00.000000'",
    "AS_TEXT": r"\1",
    "MASKED_LIST": (
        r"CASE WHEN \1 IS NOT NULL THEN coalesce((SELECT group_concat("
        + _masked(_PIPES, "m.value")
        + r", ', ') FROM json_each(\1) AS m), '') END"
    ),
    "MASKED": _masked(_PIPES, r"\1"),
}
_POSTGRESQL = {
    # Not by the session's time zone, which is the analyst's.
    "CHINA_DAY": r"CAST((\1 AT TIME ZONE 'UTC') + INTERVAL '8 hours' AS date)",
    "MOMENT": r"to_timestamp(nullif(\1, 0))",
    "DAYS_AGO": r"(clock_timestamp() - INTERVAL '\1 days')",
    "DAY_BEFORE": r"(\1 - INTERVAL '24 hours')",
    "SECONDS_SINCE": r"CAST(floor(extract(epoch FROM clock_timestamp() - \1)) AS bigint)",
    "FOREVER": "TIMESTAMP WITH TIME ZONE '9999-12-31 00:00:00+00'",
    "AS_TEXT": r"CAST(\1 AS text)",
    "MASKED_LIST": (
        r"CASE WHEN \1 IS NOT NULL THEN coalesce((SELECT string_agg("
        + _masked(_CONCAT, "m.number")
        + r", ', ' ORDER BY m.place) FROM json_array_elements_text(\1) WITH ORDINALITY AS m (number, place)), '') END"
    ),
    "MASKED": _masked(_CONCAT, r"\1"),
}
_MARIADB = {
    "CHINA_DAY": r"CAST(\1 + INTERVAL 8 HOUR AS date)",
    "MOMENT": r"(CAST('1970-01-01' AS datetime(6)) + INTERVAL nullif(\1, 0) SECOND)",
    "DAYS_AGO": r"(utc_timestamp(6) - INTERVAL \1 DAY)",
    "DAY_BEFORE": r"(\1 - INTERVAL 1 DAY)",
    "SECONDS_SINCE": r"timestampdiff(SECOND, \1, utc_timestamp(6))",
    "FOREVER": "CAST('9999-12-31' AS datetime(6))",
    "AS_TEXT": r"\1",
    "MASKED_LIST": (
        r"CASE WHEN \1 IS NOT NULL THEN coalesce((SELECT group_concat("
        + _masked(_CONCAT, "m.number")
        + r" ORDER BY m.place SEPARATOR ', ') FROM json_table(\1, '$[*]' COLUMNS"
        r" (place FOR ORDINALITY, number text CHARACTER SET utf8mb4 PATH '$')) AS m), '') END"
    ),
    "MASKED": _masked(_CONCAT, r"\1"),
}
_WORDS = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL, "mysql": _MARIADB, "mariadb": _MARIADB}

_COLUMN = re.compile(r"(\w+),?  -- \w+ \| (.+)$", re.MULTILINE)


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    for name in _VIEWS:
        definition = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
        # The reader may see the view and not what it is made of.
        security = "SQL SECURITY DEFINER " if dialect in {"mysql", "mariadb"} else ""
        _execute(f"CREATE {security}VIEW {name} AS\n{_in_the_words_of(dialect, definition)}")
        if dialect == "postgresql":
            comment = definition.partition("\n")[0].removeprefix("-- ")
            _execute(f"COMMENT ON VIEW {name} IS {_quoted(comment)}")
            for column, meaning in _COLUMN.findall(definition):
                _execute(f"COMMENT ON COLUMN {name}.{column} IS {_quoted(meaning)}")


def downgrade() -> None:
    for name in reversed(_VIEWS):
        _execute(f"DROP VIEW {name}")


def _in_the_words_of(dialect: str, definition: str) -> str:
    statement = re.sub(r" *--.*", "", definition)
    for word, meaning in _WORDS[dialect].items():
        pattern = rf"\b{word}\b" if "\\1" not in meaning else rf"\b{word}\(([^()]*)\)"
        statement = re.sub(pattern, meaning, statement)
    return statement


def _execute(statement: str) -> None:
    # A colon begins a parameter unless it is escaped.
    op.execute(sa.text(statement.replace(":", r"\:")))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
