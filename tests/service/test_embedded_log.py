"""What only the embedded log has: group commit, one owner, retention and cap, damage, a full disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from core.eventlog import embedded_rescue, embedded_writer
from core.eventlog.base import LogFull, LogOwned, LogUnavailable, ReaderChanged
from core.eventlog.embedded import EmbeddedLog
from core.metrics import Metrics
from tests.support.eventlogs import FixedPositions, read_all, values

pytestmark = pytest.mark.asyncio

GROUP = "crm-sync"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "log.sqlite"


async def fill(path: Path, *texts: bytes) -> None:
    async with await EmbeddedLog.open(path) as log:
        for text in texts:
            await log.append("ww1", text, {})


async def kept(path: Path) -> list[bytes]:
    """Every value that can be read, from the oldest on."""
    async with await EmbeddedLog.open(path) as log, log.reader(GROUP, FixedPositions()) as reader:
        found: list[bytes] = []
        while batch := await reader.read(1000, 0.01):
            found += values(batch.records)
        return found


async def test_what_waits_shares_one_commit(path: Path) -> None:
    async with await EmbeddedLog.open(path) as log:
        await log.append("ww1", b"first", {})
        before = log.commits
        await asyncio.gather(*(log.append("ww1", b"%d" % number, {}) for number in range(500)))
        assert 1 <= log.commits - before <= 10
        assert log.next_position == 502


async def test_what_comes_in_the_next_turns_of_the_loop_shares_it_too(path: Path) -> None:
    async with await EmbeddedLog.open(path) as log:
        async with asyncio.TaskGroup() as appends:
            for number in range(60):
                appends.create_task(log.append("ww1", b"%d" % number, {}))
                await asyncio.sleep(0)
                # Work that lets go of the interpreter's lock, so that the writer's thread could run.
                hashlib.sha256(bytes(1_000_000)).digest()
        assert log.commits == 1


async def test_what_never_ends_is_written_meanwhile(path: Path) -> None:
    async with await EmbeddedLog.open(path) as log:
        appends: list[asyncio.Task[None]] = []
        while not (appends and appends[0].done()):
            appends.append(asyncio.create_task(log.append("ww1", b"", {})))
            await asyncio.sleep(0)
        await asyncio.gather(*appends)


async def test_more_than_one_statement_holds_is_still_one_transaction(path: Path) -> None:
    async with await EmbeddedLog.open(path) as log:
        await asyncio.gather(*(log.append("ww1", b"%d" % number, {}) for number in range(1000)))
    assert await kept(path) == [b"%d" % number for number in range(1000)]


async def test_each_acknowledged_append_was_synced_first(path: Path) -> None:
    """Counted at the system call: no append is told to be durable without an fsync after the one before."""
    strace = shutil.which("strace")
    if strace is None:
        # A developer's machine may lack it; on CI nothing is skipped.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("strace is not installed (Debian: apt install strace)")
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from core.eventlog.embedded import EmbeddedLog\n"
        "async def main():\n"
        "    async with await EmbeddedLog.open(Path(sys.argv[1])) as log:\n"
        "        for number in range(20):\n"
        "            await log.append('ww1', b'x', {})\n"
        "            print('acknowledged', flush=True)\n"
        "asyncio.run(main())\n"
    )
    traced = subprocess.run(
        [strace, "-f", "-e", "trace=fsync,fdatasync,write", sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    synced = False
    acknowledged = 0
    for line in traced.stderr.splitlines():
        # Ended, and well: a call that another thread interrupts is told in two lines.
        if "sync" in line and line.rstrip().endswith("= 0"):
            synced = True
        if "acknowledged" in line:
            assert synced, "acknowledged before a sync"
            synced = False
            acknowledged += 1
    assert acknowledged == 20


async def test_the_file_is_readable_by_its_owner_only(path: Path) -> None:
    await fill(path, b"personal")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_second_owner_is_refused_and_told_who_has_it(path: Path) -> None:
    async with await EmbeddedLog.open(path):
        with pytest.raises(LogOwned, match=r"belongs to process \d+"):
            await EmbeddedLog.open(path)
    await fill(path, b"free again")


async def test_the_lock_of_a_killed_owner_is_free(path: Path) -> None:
    program = (
        "import asyncio, sys, signal, os\n"
        "from pathlib import Path\n"
        "from core.eventlog.embedded import EmbeddedLog\n"
        "async def main():\n"
        "    log = await EmbeddedLog.open(Path(sys.argv[1]))\n"
        "    await log.append('ww1', b'before the kill', {})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=30)
    assert ended.returncode == -9
    assert await kept(path) == [b"before the kill"]


async def test_a_group_with_unread_records_keeps_another_out(path: Path) -> None:
    async with await EmbeddedLog.open(path) as log:
        async with log.reader(GROUP):
            await log.append("ww1", b"1", {})
        with pytest.raises(ReaderChanged, match="1 deliveries are waiting for another reader"):
            async with log.reader("relay"):
                pass
        async with log.reader(GROUP) as reader:
            await read_all(reader, 1, report=True)
        async with log.reader("relay") as reader:
            assert not await reader.read(1, 0.01)


class Hours:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


async def test_retention_removes_what_was_reported_and_is_old_and_nothing_else(path: Path) -> None:
    clock = Hours()
    for moment, text in ((0.0, b"old"), (7200.0, b"young"), (7200.0, b"unreported")):
        clock.seconds = 1_000_000.0 + moment
        async with await EmbeddedLog.open(path, clock=clock, keep_seconds=3600) as log:
            await log.append("ww1", text, {})
    async with await EmbeddedLog.open(path, clock=clock, keep_seconds=3600) as log, log.reader(GROUP) as reader:
        await reader.report(await reader.read(2, 1.0))
    assert await kept(path) == [b"young", b"unreported"]


async def test_what_was_removed_is_not_left_in_the_file(path: Path) -> None:
    async with await EmbeddedLog.open(path, keep_seconds=-1) as log:
        for _ in range(50):
            await log.append("ww1", b"Wang Xiaoming 13800000001", {})
        async with log.reader(GROUP) as reader:
            await read_all(reader, 50, report=True)
    assert b"13800000001" not in path.read_bytes()


async def test_at_the_cap_unread_records_are_kept_and_new_ones_refused(path: Path) -> None:
    async with await EmbeddedLog.open(path, max_bytes=2**20) as log:
        accepted = 0
        for number in range(200):
            try:
                await log.append("ww1", b"%06d" % number + bytes(10_000), {})
            except LogFull:
                break
            accepted += 1
        assert 50 < accepted < 150
        with pytest.raises(LogFull, match="all of it is unread"):
            await log.append("ww1", b"refused", {})
        async with log.reader(GROUP) as reader:
            found = await read_all(reader, accepted, report=True)
            assert [int(value[:6]) for value in values(found)] == list(range(accepted))
            # What was read makes room, though it is younger than it should be kept.
            for _ in range(3 * accepted):
                await log.append("ww1", bytes(10_000), {})
                await reader.report(await reader.read(100, 1.0))
        assert path.stat().st_size < 4 * 2**20


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_is_full_refuses_and_recovers_by_itself(path: Path) -> None:
    async with await EmbeddedLog.open(path) as log:
        accepted: list[bytes] = []
        for round_number in range(3):
            wal = path.with_name(path.name + "-wal")
            await log.append("ww1", b"before %d" % round_number, {})
            accepted.append(b"before %d" % round_number)
            refused = 0
            with no_file_larger_than(wal.stat().st_size + 20_000):
                for number in range(40):
                    text = b"%d-%d " % (round_number, number) + bytes(4000)
                    try:
                        await log.append("ww1", text, {})
                    except LogUnavailable:
                        refused += 1
                    else:
                        accepted.append(text)
            assert refused > 0
            await log.append("ww1", b"after %d" % round_number, {})
            accepted.append(b"after %d" % round_number)
    found = await kept(path)
    assert [value for value in found if value in set(accepted)] == accepted


async def test_a_damaged_record_is_set_aside_and_counted_and_its_neighbours_are_read(path: Path) -> None:
    await fill(path, b"first-record", b"second-record", b"third-record")
    path.write_bytes(path.read_bytes().replace(b"second-record", b"secomd-record"))
    metrics = Metrics()
    async with await EmbeddedLog.open(path, metrics=metrics) as log:
        for _ in range(2):
            async with log.reader(GROUP, FixedPositions()) as reader:
                batch = await reader.read(10, 1.0)
                assert values(batch.records) == [b"first-record", b"third-record"]
                assert batch.damaged == 1
        # Counted once, however often it was read.
        assert log.damage == 1
        assert await log.reconciliation_wanted()
        await log.reconciled()
        assert not await log.reconciliation_wanted()
    assert b"wecom_crm_log_damaged_total 1.0" in metrics.render()
    with sqlite3.connect(path) as conn:
        assert conn.execute("SELECT position, value FROM damaged").fetchall() == [(2, b"secomd-record")]
    conn.close()


async def test_a_record_that_vanished_from_the_middle_is_a_gap(path: Path) -> None:
    await fill(path, b"1", b"2", b"3")
    with sqlite3.connect(path) as conn:
        conn.execute("DELETE FROM record WHERE position = 2")
    conn.close()
    async with await EmbeddedLog.open(path) as log, log.reader(GROUP) as reader:
        batch = await reader.read(10, 1.0)
        assert values(batch.records) == [b"1", b"3"]
        assert [(gap.wanted, gap.available) for gap in batch.gaps] == [(2, 3)]
        assert await log.reconciliation_wanted()


async def test_a_file_that_is_no_database_is_moved_aside_and_the_log_goes_on(path: Path) -> None:
    await fill(path, b"1")
    old = path.read_bytes()
    path.write_bytes(b"garbage" * 2000)
    async with await EmbeddedLog.open(path) as log:
        await log.append("ww1", b"2", {})
        assert await log.reconciliation_wanted()
    assert await kept(path) == [b"2"]
    (aside,) = path.parent.glob("log.sqlite.damaged-*")
    assert aside.read_bytes() == b"garbage" * 2000
    assert old != aside.read_bytes()


async def test_a_reader_notices_that_the_log_was_replaced(path: Path) -> None:
    await fill(path, *(b"%d" % number + bytes(3000) for number in range(100)))
    async with await EmbeddedLog.open(path) as log, log.reader(GROUP) as reader:
        before = log.log_id
        # The interior of the table's tree, behind SQLite's back.
        data = bytearray(path.read_bytes())
        for page in range(2, len(data) // 4096):
            data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
        path.write_bytes(data)
        with pytest.raises(LogUnavailable):  # noqa: PT012
            while await reader.read(10, 1.0):
                pass
        assert log.log_id != before
        assert log.damage == 1
        with pytest.raises(LogUnavailable, match="join again"):
            await reader.rewind()
        await log.append("ww1", b"new", {})
        async with log.reader(GROUP) as again:
            assert values(await read_all(again, 1))[-1] == b"new"


async def test_a_log_that_ends_anywhere_keeps_what_came_before(path: Path, tmp_path: Path) -> None:
    """A write-ahead log cut at any place, as after a crash: a prefix of the records, never an error."""
    texts = [b"record %02d" % number for number in range(12)]
    async with await EmbeddedLog.open(path) as log:
        for text in texts:
            await log.append("ww1", text, {})
        data = path.read_bytes()
        wal = path.with_name(path.name + "-wal").read_bytes()
    lengths = set()
    for cut in range(0, len(wal), 997):
        torn = tmp_path / f"torn-{cut}" / "log.sqlite"
        torn.parent.mkdir()
        torn.write_bytes(data)
        torn.with_name("log.sqlite-wal").write_bytes(wal[:cut])
        found = await kept(torn)
        assert found == texts[: len(found)]
        lengths.add(len(found))
    assert {0, 5, 11} <= lengths


async def test_random_damage_never_stops_a_start_and_loses_no_intact_record_unsaid(path: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    texts = [b"record %03d " % number + bytes(chance.randrange(200)) for number in range(120)]
    await fill(path, *texts)
    data = path.read_bytes()
    said = 0
    for number in range(150):
        hurt = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 20))):
            hurt[chance.randrange(len(hurt))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.1:
            del hurt[chance.randrange(len(hurt)) :]
        copy = tmp_path / f"hurt-{number}" / "log.sqlite"
        copy.parent.mkdir()
        copy.write_bytes(hurt)
        async with await EmbeddedLog.open(copy) as log:
            found: list[bytes] = []
            for _ in range(3):
                await log.append("ww1", b"after", {})
                try:
                    async with log.reader(GROUP, FixedPositions()) as reader:
                        found = []
                        while batch := await reader.read(50, 0.01):
                            found += values(batch.records)
                    break
                except LogUnavailable:
                    # Found while reading: the log was replaced, as a running service notices; join again.
                    continue
            assert b"after" in found
            assert set(found) <= {*texts, b"after"}, "a record that nobody appended"
            if set(texts) - set(found):
                said += 1
                assert await log.reconciliation_wanted(), "records are missing and nothing says so"
    assert said > 20


async def test_a_rescue_that_is_broken_off_is_done_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [b"record %04d" % number for number in range(600)]
    await fill(path, *texts)
    with sqlite3.connect(path) as conn:
        conn.execute("DROP TABLE damaged")
    conn.close()
    readable = embedded_rescue._readable

    def broken_off(damaged: Path) -> Iterator[list[embedded_rescue.Draft]]:
        yield next(readable(damaged))
        raise OSError("no space left on device")

    monkeypatch.setattr(embedded_rescue, "_readable", broken_off)
    with pytest.raises(LogUnavailable):
        await EmbeddedLog.open(path)
    monkeypatch.undo()
    assert await kept(path) == texts
    async with await EmbeddedLog.open(path) as log:
        assert await log.reconciliation_wanted()


async def test_a_rescue_that_is_broken_off_before_its_end_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(path, b"1", b"2")
    with sqlite3.connect(path) as conn:
        conn.execute("DROP TABLE damaged")
    conn.close()

    def broken_off(path: Path, now: datetime) -> Path:
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(embedded_rescue, "_swap", broken_off)
        with pytest.raises(LogUnavailable):
            await EmbeddedLog.open(path)
    # As far as the old file's place: it was moved aside already.
    path.rename(path.with_name("moved"))
    assert await kept(path) == [b"1", b"2"]


async def test_a_log_that_can_not_be_rescued_refuses_and_recovers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await EmbeddedLog.open(path) as log:
        await log.append("ww1", b"1", {})

        def no_room(path: Path) -> tuple[Path, int]:
            raise OSError("no space left on device")

        def damaged(_first: int, _drafts: object) -> None:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(embedded_writer, "replace_damaged", no_room)
            patched.setattr(log._writer._file, "append", damaged)
            for _ in range(3):
                with pytest.raises(LogUnavailable):
                    async with asyncio.timeout(10):
                        await log.append("ww1", b"refused", {})
                patched.setattr(log._writer._file, "append", damaged)
        async with asyncio.timeout(10):
            await log.append("ww1", b"2", {})
    assert await kept(path) == [b"1", b"2"]


async def test_retention_leaves_what_a_restored_database_still_has_to_read(path: Path) -> None:
    texts = [b"%d" % number for number in range(50)]
    await fill(path, *texts)
    async with await EmbeddedLog.open(path) as log, log.reader(GROUP) as reader:
        await read_all(reader, 50, report=True)
    # The database was put back to its first record; everything is old enough to be removed.
    async with (
        await EmbeddedLog.open(path, keep_seconds=-3600) as log,
        log.reader(GROUP, FixedPositions({0: 2})) as reader,
    ):
        found: list[bytes] = []
        while batch := await reader.read(10, 0.01):
            assert batch.gaps == []
            found += values(batch.records)
            await reader.report(batch)
    assert found == texts[1:]


async def test_a_file_of_another_release_is_not_touched(path: Path) -> None:
    await fill(path, b"1")
    with sqlite3.connect(path) as conn:
        conn.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
    conn.close()
    before = path.read_bytes()
    with pytest.raises(LogUnavailable, match="another release"):
        await EmbeddedLog.open(path)
    assert path.read_bytes() == before


async def test_an_old_copy_of_the_file_never_gives_a_position_again(path: Path) -> None:
    await fill(path, b"1", b"2")
    async with await EmbeddedLog.open(path) as log, log.reader(GROUP, FixedPositions({0: 10})) as reader:
        assert not await reader.read(10, 0.01)
        await log.append("ww1", b"new", {})
        (record,) = await read_all(reader, 1)
        assert record.position == 10
        assert await log.reconciliation_wanted()
