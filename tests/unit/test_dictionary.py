"""The data dictionary is what the definitions say, and they say something about everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.db.tables import metadata
from wecom_crm.dictionary import View, page, type_of, views

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "data-dictionary.md"
TYPES = {"id", "text", "integer", "instant", "day", "JSON"}


def test_the_page_is_what_the_definitions_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make dictionary"


def test_every_table_and_column_has_a_comment() -> None:
    tables = metadata.tables.values()
    assert [table.name for table in tables if not table.comment] == []
    assert [str(column) for table in tables for column in table.columns if not column.comment] == []


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_column_has_a_type_that_the_page_explains(name: str) -> None:
    found = {type_of(metadata.tables[name], column.name) for column in metadata.tables[name].columns}
    assert found <= TYPES | {"bytes"}


@pytest.mark.parametrize("view", views(), ids=lambda view: view.name)
def test_every_view_is_described(view: View) -> None:
    assert view.name.startswith("v_")
    assert view.comment.endswith(".")
    names = [column.name for column in view.columns]
    assert len(names) == len(set(names)) > 1
    assert names[0] == "corpid"
    assert {column.type for column in view.columns} <= TYPES
    # A customer's id is there under the platform's own name.
    of_customers = view.name.startswith("v_customer") or view.name in {"v_relation_change", "v_event"}
    assert ("external_userid" in names) == of_customers


def test_no_view_shows_what_may_hold_a_phone_number_unmasked() -> None:
    shown = {(view.name, column.name): column for view in views() for column in view.columns}
    hidden = {"external_profile", "leaves", "payload"}
    assert [key for key in shown if key[1] in hidden] == []
    numbers = {key: column for key, column in shown.items() if key[1] in {"remark_mobiles", "mobile", "telephone"}}
    assert len(numbers) == 4
    assert [key for key, column in numbers.items() if "masked" not in column.comment] == []
