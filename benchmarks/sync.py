"""Events applied and refreshed per second on Kafka and PostgreSQL, and their delay: ``python benchmarks/sync.py``.

Beside a loop that makes one API call and one transaction per event, over the same events; and beside a bare way through
Kafka into one row. Exit status 1 if events are missing in a ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

ROOT = Path(__file__).resolve().parent.parent
# Started as a script, not only with -m.
sys.path.insert(0, str(ROOT))

from benchmarks.slices import Failed, conditions, keep, machine  # noqa: E402
from benchmarks.sync_naive import BareWay, naive_loop  # noqa: E402
from benchmarks.sync_rig import CORP, CUSTOMERS, TOPIC, Rig, assigned_at, fill, rig_in  # noqa: E402
from core.envelope import decode, interpret  # noqa: E402
from tests.support.databases import server_version  # noqa: E402
from tests.support.kafka_topics import create_topic  # noqa: E402
from tests.support.servers.janitor import watched_folder  # noqa: E402
from wecom.callback import seal_delivery  # noqa: E402
from wecom.crypto import CallbackCrypto  # noqa: E402

RATE_GOAL, CALLS_GOAL, DELAY_GOAL, GROWTH_GOAL = 10.0, 0.2, 3.0, 1.2
PER_SECOND = 200.0
BARE_TOPIC = "benchmark-bare"
_LOOK = 0.02
_PATIENCE = 300.0


async def offsets(rig: Rig) -> dict[int, int]:
    """The end of each partition of the topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=rig.kafka)
    await consumer.start()
    try:
        found = await consumer.end_offsets([TopicPartition(TOPIC, number) for number in range(6)])
        return {partition.partition: end for partition, end in found.items()}
    finally:
        await consumer.stop()


async def until(connection: Any, condition: str) -> float:
    """Wait until this expression is true in the database; returns the moment in Unix seconds."""
    deadline = time.monotonic() + _PATIENCE
    while not await connection.fetchval(f"SELECT {condition}"):
        if time.monotonic() > deadline:
            raise Failed(f"after {_PATIENCE:.0f} s still not: {condition}")
        await asyncio.sleep(_LOOK)
    return time.time()


async def product_round(rig: Rig, end: dict[int, int], url: str) -> dict[str, float]:
    """Start ``serve sync`` on a topic that has waited for it; seconds from its partitions to the three milestones."""
    calls = await rig.calls()
    sync = rig.service("sync", url)
    try:
        await sync.start()
        async with rig.connection(url) as connection:
            total = sum(end.values())
            applied = f"(SELECT coalesce(sum(position), 0) FROM log_position) >= {total}"
            at_applied = await until(connection, applied)
            # Every customer was read after its last event; what is left are the reads that confirm, 5 s later.
            at_read = await until(connection, "NOT EXISTS (SELECT FROM pending_read WHERE stage = 'first')")
            at_confirmed = await until(connection, "NOT EXISTS (SELECT FROM pending_read)")
        began = assigned_at(sync)
        if await sync.stop() != 0:
            raise Failed(f"serve sync did not end well:\n{sync.last_words()}")
    finally:
        await sync.kill()
    return {
        "applied_seconds": at_applied - began,
        "read_seconds": at_read - began,
        "confirmed_seconds": at_confirmed - began,
        "calls": await rig.calls() - calls,
    }


async def throughput(rig: Rig, events: int, rounds: int, rows: int, many_rows: int) -> list[dict[str, float]]:
    """The product with so many customers and with many more, and the naive loop, in turns over the same events."""
    found: list[dict[str, float]] = []
    for url, number in ((rig.url, rows), (rig.large_url, many_rows)):
        _show(f"{number:,} customers are made")
        await fill(rig, url, number)
    begin = await offsets(rig)
    # The first one makes the customers and is not counted.
    for number in range(rounds + 1):
        await rig.publish(rig.edits(events if number else CUSTOMERS))
        end = await offsets(rig)
        one = await product_round(rig, end, rig.url)
        many = await product_round(rig, end, rig.large_url)
        one |= {f"many_{name}": value for name, value in many.items()}
        calls = await rig.calls()
        one["naive_seconds"] = await naive_loop(rig, begin, end)
        one["naive_calls"] = await rig.calls() - calls
        begin = end
        if number:
            found.append(one | {"events": events})
            _show(f"round {number}/{rounds}: {json.dumps(one)}")
    for url in (rig.url, rig.large_url, rig.naive_url):
        async with rig.connection(url) as connection:
            events_there = await connection.fetchval("SELECT count(*) FROM contact_event")
            if events_there != sum(begin.values()):
                raise Failed(f"{events_there} events in a ledger, and {sum(begin.values())} in the topic")
    return found


async def delays(rig: Rig, seconds: int, slices: int) -> list[dict[str, Any]]:
    """From a callback to its committed row, in slices beside those of the bare way."""
    number = int(PER_SECOND * seconds)
    await create_topic(rig.kafka, BARE_TOPIC)
    bare = BareWay(rig, BARE_TOPIC)
    ingest, sync = rig.service("ingest"), rig.service("sync")
    found: list[dict[str, Any]] = []
    try:
        await ingest.start()
        await sync.start()
        await _through_the_product(rig, rig.edits(int(PER_SECOND)))
        await bare.run(rig.edits(int(PER_SECOND)), PER_SECOND)
        for place in range(1, slices + 1):
            ways = await _through_the_product(rig, rig.edits(number))
            bares = await bare.run(rig.edits(number), PER_SECOND)
            one = {name: _cuts(values) for name, values in ways.items()} | {"bare": _cuts(bares)}
            found.append(one)
            _show(f"slice {place}/{slices}: product {one['whole']}, bare {one['bare']}")
    finally:
        for service in (ingest, sync):
            await service.kill()
    return found


async def _through_the_product(rig: Rig, documents: Sequence[bytes]) -> dict[str, list[float]]:
    """Push them at the rate; seconds of each part of the way, from the sending to the commit."""
    events = {interpret(CORP.corpid, "", 0, document).event_id: document for document in documents}
    before = await offsets(rig)
    sent, answered = await _push(rig, list(events.items()))
    async with rig.connection(rig.url) as connection:
        await until(
            connection,
            f"(SELECT coalesce(sum(position), 0) FROM log_position) >= {sum(before.values()) + len(events)}",
        )
        rows = await connection.fetch(
            "SELECT event_id, extract(epoch FROM received_at)::double precision AS received, "
            "extract(epoch FROM recorded_at)::double precision AS begun, "
            "extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision AS committed "
            "FROM contact_event WHERE event_id = ANY($1)",
            list(events),
        )
    if len(rows) != len(events):
        raise Failed(f"{len(rows)} rows for {len(events)} events")
    published = await _published(rig, before, await offsets(rig))
    ways: dict[str, list[float]] = {
        name: [] for name in ("whole", "answered", "sent to kept", "kept to publishing", "to the batch", "in the batch")
    }
    for row in rows:
        name = row["event_id"]
        moments = (sent[name], row["received"], published[name], row["begun"], row["committed"])
        ways["whole"].append(row["committed"] - sent[name])
        ways["answered"].append(answered[name] - sent[name])
        for part, begin, end in zip(list(ways)[2:], moments[:-1], moments[1:], strict=True):
            ways[part].append(end - begin)
    return ways


async def _push(rig: Rig, events: Sequence[tuple[str, bytes]]) -> tuple[dict[str, float], dict[str, float]]:
    callback = CORP.callbacks[0]
    crypto = CallbackCrypto(callback.token, callback.encoding_aes_key, CORP.corpid)
    url = f"http://127.0.0.1:{rig.port}/callback/{CORP.corpid}/{callback.name}"
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}

    async def one(session: aiohttp.ClientSession, name: str, document: bytes, number: int) -> None:
        query, body = seal_delivery(crypto, document, timestamp=str(int(time.time())), nonce=str(number))
        sent[name] = time.time()
        async with session.post(f"{url}?{urlencode(query)}", data=body) as answer:
            await answer.read()
            if answer.status != 200:
                raise Failed(f"a callback got {answer.status}")
        answered[name] = time.time()

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        for number, (name, document) in enumerate(events):
            await asyncio.sleep(max(0.0, number / PER_SECOND - (time.monotonic() - began)))
            tasks.create_task(one(session, name, document, number))
    return sent, answered


async def _published(rig: Rig, begin: dict[int, int], end: dict[int, int]) -> dict[str, float]:
    """When the relay handed each event to its producer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=rig.kafka)
    await consumer.start()
    found: dict[str, float] = {}
    try:
        partitions = [TopicPartition(TOPIC, number) for number in begin]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, begin[partition.partition])
        while len(found) < sum(end.values()) - sum(begin.values()):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found |= {decode(record.value).event_id: record.timestamp / 1000 for record in records}
    finally:
        await consumer.stop()
    return found


def _cuts(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2), "max": round(max(values) * 1000, 2)}


def _show(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run it all; returns what is written to the results."""
    facts = machine() | {name: version(name) for name in ("asyncpg", "SQLAlchemy", "aiokafka")}
    with watched_folder() as home:
        async with rig_in(home) as rig:
            facts["postgresql"] = await server_version(rig.url)
            rounds = await throughput(rig, options.events, options.rounds, options.rows, options.many_rows)
            slices = await delays(rig, options.seconds, options.slices)
    sizes = {"rows": options.rows, "many_rows": options.many_rows}
    return {"machine": facts, "load_average_after": os.getloadavg(), **sizes, "rounds": rounds, "slices": slices}


def report(result: dict[str, Any]) -> list[str]:
    """The result in words."""
    rounds, slices = result["rounds"], result["slices"]

    def middle(values: Sequence[float]) -> str:
        return f"{statistics.median(values):,.2f} ({min(values):,.2f} to {max(values):,.2f})"

    def rate(name: str) -> list[float]:
        return [one["events"] / one[name] for one in rounds]

    read, naive = rate("read_seconds"), rate("naive_seconds")
    ratios = [fast / slow for fast, slow in zip(read, naive, strict=True)]
    calls = [one["calls"] / one["events"] for one in rounds]
    growth = [few / many for few, many in zip(read, rate("many_read_seconds"), strict=True)]
    lines = [
        *conditions(result),
        f"{rounds[0]['events']:,} edits of {CUSTOMERS:,} customers, {len(rounds)} rounds: median (least to most)",
        f"  applied per second                {middle(rate('applied_seconds'))}",
        f"  applied and refreshed per second  {middle(read)}",
        f"  naive loop, per second            {middle(naive)}",
        f"  ratio                             {middle(ratios)}; goal {RATE_GOAL:g}",
        f"  API calls per event               {middle(calls)}; goal {CALLS_GOAL:g}",
        f"  cost of an event with {result['many_rows']:,} customers, beside {result['rows']:,}:",
        f"                                    {middle(growth)}; goal {GROWTH_GOAL:g}",
        f"from the callback to the committed row at {PER_SECOND:g} per second, {len(slices)} slices, ms",
    ]
    for name in slices[0]:
        p50, p99 = ([one[name][cut] for one in slices] for cut in ("p50", "p99"))
        lines.append(f"  {name:<20}p50 {middle(p50):<30}p99 {middle(p99)}")
    ratios = [one["whole"]["p99"] / one["bare"]["p99"] for one in slices]
    lines.append(f"  ratio at p99        {middle(ratios)}; goal {DELAY_GOAL:g}")
    return lines


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=10_000, help="events of a round (10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with the product and the naive loop (3)")
    parser.add_argument("--rows", type=int, default=10_000, help="customers there already (10,000)")
    parser.add_argument("--many-rows", type=int, default=1_000_000, help="and in the other database (1,000,000)")
    parser.add_argument("--seconds", type=int, default=10, help="length of a slice of the delays (10)")
    parser.add_argument("--slices", type=int, default=5, help="slices, each with the product and the bare way (5)")
    parser.add_argument("--output", type=Path, default=None, help="where the raw figures are written")
    options = parser.parse_args()
    try:
        result = uvloop.run(measure(options))
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    keep(result, "sync", options.output, report(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
