"""The employee, who leads whom, employee tags and logins, told by the employee's new id."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, or_, select, update

from core.db.bulk import put, remove
from core.db.tables import department, employee, employee_department, employee_tag, employee_tag_member, session
from sync.facts import Existence, is_later_word
from sync.history import Version, record
from sync.objects.base import Row
from sync.objects.children import ChildChanges
from sync.objects.moves import Move
from sync.objects.places import read_places
from sync.objects.rows import lock_rows, save_rows


async def move_member(move: Move, most: int) -> int:
    """Merge the employee's two rows, and name the new id as superior of so many others at most.

    Returns how many rows were changed; ``most`` if more may be left.
    """
    t = employee.c
    mine = and_(t.userid == move.old, move.before(t.fetched_at, t.last_create_at, t.last_delete_at))
    led = and_(t.userid != move.old, move.named(t.direct_leaders), move.before(t.fetched_at))
    named = select(t.userid, t.userid, t.direct_leaders).where(t.corpid == move.corpid, or_(mine, led))
    ids, more = await move.keys(named.order_by(t.userid), most)
    if not ids:
        return 0
    both = {move.old, move.new} if move.old in ids else set()
    old, made = await lock_rows(move.conn, move.dialect, employee, move.corpid, both | set(ids), move.now)
    if both and not move.is_before(old[move.old], "fetched_at", "last_create_at", "last_delete_at"):
        both = set()
    new = {
        userid: row | {"direct_leaders": move.renamed(row["direct_leaders"])}
        for userid, row in move.still(old, "fetched_at").items()
        if userid != move.old
    }
    if both:
        new[move.new] = merged(old[move.old], old[move.new], move.told_at)
        new[move.new]["direct_leaders"] = move.renamed(new[move.new]["direct_leaders"])
    causes = dict.fromkeys(old, move.cause)
    await save_rows(move.conn, employee, move.corpid, old, new, made, causes, move.now)
    if both:
        await _remove_old(move, old[move.old], old[move.new])
    return most if more else len(ids)


def merged(old: Row, new: Row, told_at: datetime) -> Row:
    """One employee of the two rows of one person: the newer answer, and the largest moment of each fact."""
    later = old["fetched_at"] is not None and (new["fetched_at"] is None or old["fetched_at"] > new["fetched_at"])
    row = {**(old if later else new), "userid": new["userid"], "userid_shown": new["userid_shown"]}
    facts = Existence(old["last_create_at"], old["last_delete_at"])
    facts |= Existence(new["last_create_at"], new["last_delete_at"])
    row |= {"last_create_at": facts.created_at, "last_delete_at": facts.deleted_at}
    left_at = facts.ended_at
    if left_at is not None and is_later_word(row["fetched_at"], left_at):
        left_at = None
    row |= {"first_seen_at": new["first_seen_at"], "left_at": left_at}
    row["gone_at"] = new["gone_at"]
    if new["fetched_at"] is None and old["gone_at"] is not None and old["gone_at"] < told_at:
        # Later than that it is only the old id that the platform does not show.
        row["gone_at"] = new["gone_at"] or old["gone_at"]
    return row


async def _remove_old(move: Move, old: Row, new: Row) -> None:
    """Remove the row of the old id and what hangs on it; departments of the newer answer stay."""
    places = await read_places(move.conn, move.corpid, [move.old, move.new])
    work = ChildChanges(employee_department)
    if merged(old, new, move.told_at)["fetched_at"] != new["fetched_at"]:
        wanted = [row | {"userid": move.new} for row in places[move.old]]
    else:
        wanted = places[move.new]
    work.add([*places[move.old], *places[move.new]], wanted, move.cause)
    await work.write(move.conn, move.corpid, move.now)
    await remove(move.conn, employee, [{"corpid": move.corpid, "userid": move.old}])
    await record(move.conn, employee, move.corpid, [Version({"userid": move.old}, None, move.cause)], move.now)
    t = employee.c
    if old["first_seen_at"] < new["first_seen_at"]:
        this = update(employee).where(t.corpid == move.corpid, t.userid == move.new)
        await move.conn.execute(this.values(first_seen_at=old["first_seen_at"]))


async def move_departments(move: Move, most: int) -> int:
    """Name the new id among those who lead departments. Returns how many; ``most`` if more may be left."""
    t = department.c
    led = select(t.department_id, t.leaders).where(
        t.corpid == move.corpid, move.named(t.leaders), move.before(t.fetched_at)
    )
    ids, more = await move.keys(led.order_by(t.department_id), most)
    if not ids:
        return 0
    old, _ = await lock_rows(move.conn, move.dialect, department, move.corpid, ids, move.now)
    old = move.still(old, "fetched_at")
    new = {number: row | {"leaders": move.renamed(row["leaders"])} for number, row in old.items()}
    causes = dict.fromkeys(old, move.cause)
    await save_rows(move.conn, department, move.corpid, old, new, (), causes, move.now)
    return most if more else len(ids)


async def move_tags(move: Move, most: int) -> int:
    """Give the employee's tags to the new id. Returns how many; ``most`` if more may be left."""
    t, of = employee_tag_member.c, employee_tag.c
    both = employee_tag_member.join(employee_tag, and_(of.corpid == t.corpid, of.tagid == t.tagid))
    tagged = select(t.tagid, t.member_id).select_from(both)
    tagged = tagged.where(t.corpid == move.corpid, t.member_type == "user", t.member_id == move.old)
    tagged = tagged.where(move.before(of.fetched_at))
    ids, more = await move.keys(tagged.order_by(t.tagid), most)
    if not ids:
        return 0
    found, _ = await lock_rows(move.conn, move.dialect, employee_tag, move.corpid, ids, move.now)
    theirs = sorted(move.still(found, "fetched_at"))
    rows = [{"corpid": move.corpid, "tagid": number, "member_type": "user"} for number in theirs]
    await remove(move.conn, employee_tag_member, [row | {"member_id": move.old} for row in rows])
    await put(move.conn, employee_tag_member, [row | {"member_id": move.new} for row in rows])
    return most if more else len(ids)


async def end_sessions(move: Move) -> None:
    """End the logins under the old id, which show what it had; the next one is under the new id."""
    t = session.c
    mine = update(session).where(t.corpid == move.corpid, t.userid == move.old, t.ended_at.is_(None))
    await move.conn.execute(mine.where(move.before(t.created_at)).values(ended_at=move.now))
