"""The data dictionary: every table and view with its columns, as a page made from the definitions themselves.

``make dictionary`` writes docs/reference/data-dictionary.md; a test fails while the page says something else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import JSON, Integer, LargeBinary, String, Table

import migrations
from core.db.tables import HISTORY, metadata
from core.db.types import Id, Instant

DEFINITIONS = Path(migrations.__file__).parent / "views"
"""A folder per revision that made or changed views, with a file per view."""

_TYPES = (
    *((Id, "id"), (Instant, "instant"), (JSON, "JSON"), (String, "text")),
    *((Integer, "integer"), (LargeBinary, "bytes")),
)
_COLUMN = re.compile(r"(\w+),?  -- (\w+) \| (.+)$", re.MULTILINE)

_HEAD = """# Data dictionary

<!-- Written by make dictionary from the definitions; change those. -->

Every table and every view with all columns. Analysts read the *views*: their names begin with `v_`, they show phone
numbers masked, and they are all that [the analysts' role](../how-to/ask-the-tables.md#a-role-for-analysts) sees. The
*tables* are what the views are made of; [tables](tables.md) tells what holds for all of them.

| type | SQLite | PostgreSQL | MariaDB |
|---|---|---|---|
| id | text | `varchar(128) COLLATE "C"` | `varchar(128) COLLATE utf8mb4_nopad_bin` |
| text | text | `text` or `varchar` | `text` or `varchar` |
| integer | integer | `integer` or `bigint` | `int` or `bigint` |
| instant | text as `2026-03-01 09:30:00.000000`, UTC | `timestamp with time zone` | `datetime(6)`, UTC |
| day | text as `2026-03-01` | `date` | `date` |
| JSON | text | `json` | `longtext` |
| bytes | blob | `bytea` | `blob` or `mediumblob` |

Yes and no are 1 and 0. What is NULL is not known or not there.
"""


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view; ``type`` is one of the words of the page's table of types."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class View:
    """A view as its newest definition has it."""

    name: str
    comment: str
    columns: Sequence[ViewColumn]


def views() -> list[View]:
    """All views: first those of how things are, then those of how they were, each by name."""
    newest = {path.stem: path for folder in sorted(DEFINITIONS.iterdir()) for path in sorted(folder.glob("*.sql"))}
    found = [_view(name, path.read_text(encoding="utf-8")) for name, path in newest.items()]
    return sorted(found, key=lambda view: (view.name in _OF_HISTORY, view.name))


_OF_HISTORY = frozenset(f"v_{table.name}" for table in HISTORY.values())


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_contents(), *_views(), *_tables()]) + "\n"


def type_of(table: Table, column: str) -> str:
    """The word for the type of a table's column."""
    kind = table.c[column].type
    return next(word for known, word in _TYPES if isinstance(kind, known))


def _view(name: str, definition: str) -> View:
    comment = definition.partition("\n")[0].removeprefix("-- ")
    return View(name, comment, [ViewColumn(*found) for found in _COLUMN.findall(definition)])


def _contents() -> Iterator[str]:
    yield "| view | what a row tells |"
    yield "|---|---|"
    for view in views():
        yield f"| [`{view.name}`](#{view.name}) | {view.comment} |"
    yield ""


def _views() -> Iterator[str]:
    yield "## Views"
    for view in views():
        yield from ("", f"### {view.name}", "", view.comment, "", "| column | type | meaning |", "|---|---|---|")
        for column in view.columns:
            yield f"| `{column.name}` | {column.type} | {column.comment} |"
    yield ""


def _tables() -> Iterator[str]:
    yield "## Tables"
    for name in sorted(metadata.tables):
        table = metadata.tables[name]
        yield from ("", f"### {name}", "", f"{table.comment}.", "")
        yield from ("| column | type | key | empty | meaning |", "|---|---|---|---|---|")
        for column in table.columns:
            key = "key" if column.primary_key else _refers_to(table, column.name)
            empty = "yes" if column.nullable else "no"
            yield f"| `{column.name}` | {type_of(table, column.name)} | {key} | {empty} | {column.comment} |"
        parents = sorted({key.referred_table.name for key in table.foreign_key_constraints})
        if parents:
            yield from ("", f"Belongs to a row of {', '.join(f'[`{parent}`](#{parent})' for parent in parents)}.")


def _refers_to(table: Table, column: str) -> str:
    return "refers" if table.c[column].foreign_keys else ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
