"""The address book as far as the app may see it: employees, departments and employee tags.

Of employees, departments, tags, groups alike: ``last_create_at`` and ``last_delete_at`` are what events told, each the
largest CreateTime; ``gone_at`` is what reading told. What events ended is not begun again by a late answer.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Index, Integer, String, Table, Text

from core.db.tables.base import metadata
from core.db.types import Id, Instant

employee = Table(
    "employee",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("userid", Id(), primary_key=True, comment="The employee's id in lower case"),
    Column("userid_shown", Id(), comment="The same as the platform spells it"),
    Column("name", Text, comment="Name"),
    Column("alias", Text, comment="Alias"),
    Column("gender", Integer, comment="0 unknown, 1 male, 2 female; newer apps are not told"),
    Column("position", Text, comment="Job title"),
    Column("external_position", Text, comment="Job title that customers are shown"),
    Column("mobile", Text, comment="Mobile number; newer apps are not told"),
    Column("telephone", Text, comment="Telephone number"),
    Column("email", Text, comment="Mail address; newer apps are not told"),
    Column("biz_mail", Text, comment="Corporate mail address; newer apps are not told"),
    Column("avatar", Text, comment="Address of the picture; newer apps are not told"),
    Column("status", Integer, comment="1 active, 2 disabled, 4 not activated, 5 left"),
    Column("main_department", BigInteger, comment="Main department"),
    Column("direct_leaders", JSON(none_as_null=True), comment="Superiors' ids in lower case, a list"),
    Column("last_create_at", Instant(), comment="Latest CreateTime of a create_user event"),
    Column("last_delete_at", Instant(), comment="Latest CreateTime of a delete_user event"),
    Column("left_at", Instant(), comment="Since when the employee has left, as events tell; NULL: is there"),
    Column("gone_at", Instant(), comment="Since when the platform does not show the employee: left, or out of range"),
    Column("fetched_at", Instant(), comment="When the API call that brought these columns began; NULL: not read yet"),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the employee"),
    comment="Employees (members), one row per corporation and userid",
)

employee_department = Table(
    "employee_department",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("userid", Id(), primary_key=True, comment="The employee"),
    Column("department_id", BigInteger, primary_key=True, autoincrement=False, comment="The department"),
    Column("is_leader", Integer, comment="1: the employee leads it, 0: not"),
    Column("sort_order", BigInteger, comment="Place within the department, larger first"),
    ForeignKeyConstraint(["corpid", "userid"], ["employee.corpid", "employee.userid"]),
    Index(None, "corpid", "department_id"),
    comment="Which employee belongs to which department",
)

employee_alias = Table(
    "employee_alias",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("userid", Id(), primary_key=True, comment="The old id, in lower case"),
    Column("new_userid", Id(), nullable=False, comment="The id that the same person has had since, in lower case"),
    Column("happened_at", Instant(), primary_key=True, comment="CreateTime of the event that told it"),
    Column("given_at", Instant(), comment="Since when somebody else has had the old id; NULL: nobody has"),
    Column("merged_at", Instant(), comment="When all rows of the old id had been moved to the new one"),
    Index(None, "corpid", "new_userid"),
    comment="Ids that an employee had before; what was said until somebody else got one counts for the new id",
)

department = Table(
    "department",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column(
        "department_id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="The platform's number; 1 is the root",
    ),
    Column("name", Text, comment="Name"),
    Column("name_en", Text, comment="English name"),
    Column("parentid", BigInteger, comment="The department above"),
    Column("sort_order", BigInteger, comment="Place among its siblings, larger first"),
    Column("leaders", JSON(none_as_null=True), comment="Ids of those who lead it, in lower case, a list"),
    Column("last_create_at", Instant(), comment="Latest CreateTime of a create_party event"),
    Column("last_delete_at", Instant(), comment="Latest CreateTime of a delete_party event"),
    Column("deleted_at", Instant(), comment="Since when it has been deleted, as events tell; NULL: is there"),
    Column("gone_at", Instant(), comment="Since when the platform does not show it: deleted, or out of range"),
    Column("fetched_at", Instant(), comment="When the API call that brought these columns began; NULL: not read yet"),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the department"),
    comment="Departments (parties)",
)

employee_tag = Table(
    "employee_tag",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("tagid", BigInteger, primary_key=True, autoincrement=False, comment="The platform's number"),
    Column("tagname", Text, comment="Name"),
    Column("gone_at", Instant(), comment="Since when the platform does not show it"),
    Column("fetched_at", Instant(), comment="When the API call that brought these columns began; NULL: not read yet"),
    Column("first_seen_at", Instant(), nullable=False, comment="When this system first heard of the tag"),
    comment="Tags of employees (labels of the address book), which have nothing to do with customers' tags",
)

employee_tag_member = Table(
    "employee_tag_member",
    metadata,
    Column("corpid", Id(), primary_key=True, comment="The corporation"),
    Column("tagid", BigInteger, primary_key=True, autoincrement=False, comment="The tag"),
    Column("member_type", String(16), primary_key=True, comment="user: an employee; party: a department"),
    Column("member_id", Id(), primary_key=True, comment="The employee's id in lower case, or the department's number"),
    ForeignKeyConstraint(["corpid", "tagid"], ["employee_tag.corpid", "employee_tag.tagid"]),
    Index(None, "corpid", "member_type", "member_id"),
    comment="Who has which employee tag",
)
