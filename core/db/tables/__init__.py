"""The CRM tables, one definition for SQLite, PostgreSQL, MySQL and MariaDB.

Rules that hold everywhere: ``*_at`` columns are UTC instants with microseconds (aware ``datetime`` in Python on every
database); ``createtime`` is the platform's own integer (Unix seconds); ids compare byte by byte, letter case and
trailing blanks included; a member id is stored in lower case because the platform compares it so (document 98728).
Migrations repeat these definitions and a test keeps the two equal.
"""

from core.db.tables.access import credential, login_state, session
from core.db.tables.base import metadata
from core.db.tables.customers import corp, customer, customer_follow, customer_follow_tag
from core.db.tables.directory import (
    department,
    employee,
    employee_alias,
    employee_department,
    employee_tag,
    employee_tag_member,
)
from core.db.tables.events import contact_event, dead_letter, log_position, pending_read
from core.db.tables.groups import group_chat, group_chat_member, group_chat_version
from core.db.tables.history import HISTORY, business_columns
from core.db.tables.tags import tag, tag_group

# Kept beside the tables because both the schema check and the tests ask for it.
ALL_TABLES = tuple(metadata.sorted_tables)

__all__ = [
    "ALL_TABLES",
    "HISTORY",
    "business_columns",
    "contact_event",
    "corp",
    "credential",
    "customer",
    "customer_follow",
    "customer_follow_tag",
    "dead_letter",
    "department",
    "employee",
    "employee_alias",
    "employee_department",
    "employee_tag",
    "employee_tag_member",
    "group_chat",
    "group_chat_member",
    "group_chat_version",
    "log_position",
    "login_state",
    "metadata",
    "pending_read",
    "session",
    "tag",
    "tag_group",
]
