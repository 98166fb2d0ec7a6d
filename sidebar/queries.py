"""Queries that are made once and run often.

To build an SQLAlchemy statement, to find it in the cache and to convert its rows takes several times as long as the
database does. So the statement is turned into SQL once, and what the driver returns is taken as it is: ``as_moment``
and ``as_list`` make of it what every database means.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Select

from core.db.engine import Database
from core.db.looks import Ask, Row


class Query:
    """One SELECT; ``statement`` has a ``bindparam`` for everything that differs from one run to the next."""

    def __init__(self, database: Database, statement: Select[Any] | Any) -> None:
        self._database = database
        self._statement = statement
        self._sql = ""
        self._names: tuple[str, ...] = ()
        self._fixed: Row = {}

    async def rows(self, ask: Ask, **values: Any) -> list[Row]:
        """Run it; the values are text and numbers."""
        if not self._sql:
            self._compile()
        known = self._fixed | values
        return await ask(self._sql, [known[name] for name in self._names])

    async def row(self, ask: Ask, **values: Any) -> Row | None:
        """The only row, if there is one."""
        found = await self.rows(ask, **values)
        return found[0] if found else None

    def _compile(self) -> None:
        # Not earlier: only a connection tells MySQL from MariaDB. All our drivers take parameters by position.
        compiled = self._statement.compile(
            dialect=self._database.engine.dialect, compile_kwargs={"render_postcompile": True}
        )
        self._names = tuple(compiled.positiontup or ())
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._sql = str(compiled)


def as_list(value: Any) -> list[Any]:
    """A JSON column that holds a list."""
    made = json.loads(value) if isinstance(value, str | bytes) else value
    return made if isinstance(made, list) else []
