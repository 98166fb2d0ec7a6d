"""The shell, the static files, the verify files, and what is said when the database is away or old."""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp.test_utils import make_mocked_request

from core.db.engine import Database
from sidebar.assets import FOLDER
from sidebar.pages import Pages
from sidebar.places import Place
from sidebar.words import MESSAGES
from tests.support.crm import crm_database
from tests.support.sidebar import CRM, PUBLIC_URL, Bench, sidebar_bench
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio

BASE = f"/sidebar/ww1/{CRM}"
FILES = {"WW_verify_a1.txt": "a1 of ww1", "WW_verify_b2.txt": "b2 of ww2"}


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sidebar_bench(tmp_path, sync=False, verify_files=FILES) as bench:
        yield bench


async def test_the_shell_has_what_the_script_needs_and_nothing_of_anybody(bench: Bench) -> None:
    shown = await bench.browser().get(BASE)
    assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
    names = ("corpid", "agentid", "base", "session", "page-url")
    assert [shown.data(name) for name in names] == ["ww1", str(CRM), BASE, "", PUBLIC_URL + BASE]
    assert "zhangsan" not in (await bench.browser().tab().open()).text.lower()


async def test_whatever_a_corp_is_called_it_stays_text() -> None:
    corpid = '"><script src=//evil.example></script>&$page_url'
    place = Place(corpid, 7, "agent:7", "agent:7", "/p", 'https://x/"p')
    request = make_mocked_request("GET", "/p")
    shown = Pages("en", "/static").shell(request, place, None)
    assert shown.text is not None
    assert corpid not in shown.text
    assert f'data-corpid="{html.escape(corpid)}"' in shown.text
    assert 'data-page-url="https://x/&quot;p"' in shown.text


async def test_no_page_has_a_script_or_a_style_of_its_own(bench: Bench) -> None:
    """The policy forbids both."""
    bench.world.corp("ww1").agents[0].visible = frozenset()
    for seen in (await bench.browser().get(BASE), await bench.browser().tab().open()):
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", seen.text) == []


async def test_every_static_file_that_the_shell_names_is_there(bench: Bench) -> None:
    shown = await bench.browser().get(BASE)
    named = re.findall(r'(?:src|href)="(/sidebar/static/[^"]+)"', shown.text)
    assert named
    for address in named:
        name = address.split("/", 4)[4]
        if not (FOLDER / name).is_file():
            # Third-party files come with the build.
            assert name.startswith("vendor/")
            continue
        seen = await bench.browser().get(address)
        assert (seen.status, seen.body) == (200, (FOLDER / name).read_bytes())
        assert seen.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_static_files_are_packed_for_who_takes_that(bench: Bench) -> None:
    shown = await bench.browser().get(BASE)
    address = f"{shown.data('static')}/page.js"
    async with bench.http.get(
        bench.address + address, headers={"Accept-Encoding": "gzip"}, auto_decompress=False
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(await answer.read()) == (FOLDER / "page.js").read_bytes()
    plain = await bench.browser().get(address, **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


async def test_another_releases_address_is_served_and_not_kept(bench: Bench) -> None:
    seen = await bench.browser().get(f"/sidebar/static/{'0' * 16}/page.js")
    assert (seen.status, seen.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["../keys.py", "%2e%2e/keys.py", "..%2fkeys.py", "nothing.js", "/etc/passwd", "."])
async def test_nothing_outside_the_folder_is_served(bench: Bench, name: str) -> None:
    assert (await bench.browser().get(f"/sidebar/static/x/{name}")).status == 404


async def test_verify_files_of_several_corps(bench: Bench) -> None:
    for name, content in FILES.items():
        seen = await bench.browser().get(f"/{name}")
        assert (seen.status, seen.text, seen.headers["Content-Type"]) == (200, content, "text/plain; charset=utf-8")
    assert (await bench.browser().get("/WW_verify_c3.txt")).status == 404


async def test_frame_ancestors_come_from_the_configuration(tmp_path: Path) -> None:
    async with sidebar_bench(
        tmp_path, sync=False, frame_ancestors=["https://work.example", "https://a.example"]
    ) as one:
        policy = (await one.browser().get(BASE)).headers["Content-Security-Policy"]
        assert policy.endswith("frame-ancestors 'self' https://work.example https://a.example")


async def test_a_path_before_our_own(tmp_path: Path) -> None:
    """As behind a proxy that takes it off."""
    async with sidebar_bench(tmp_path, sync=False, public_url=f"{PUBLIC_URL}/crm") as bench:
        shown = await bench.browser().get(BASE)
        assert (shown.data("base"), shown.data("page-url")) == (f"/crm{BASE}", f"{PUBLIC_URL}/crm{BASE}")
        assert 'src="/crm/sidebar/static/' in shown.text


@pytest.mark.parametrize(("language", "word"), [("zh-CN", "系统暂时不可用"), ("en", "The system is not available")])
async def test_a_database_that_is_away_is_said_in_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, language: str, word: str
) -> None:
    tab = bench.browser().tab()
    await tab.open()

    def away(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(Database, "read", away)
    monkeypatch.setattr(Database, "write", away)
    for path in ("", "/login"):
        shown = await tab.browser.get(f"{BASE}{path}?lang={language}")
        assert shown.status == 503
        assert word in shown.text
        assert 'data-code="database"' in shown.text
    for seen in (await tab.customer(), await tab.refresh(), await tab.sign()):
        assert (seen.status, seen.json()) == (503, {"code": "database", "retry_after": 5})
    monkeypatch.undo()
    assert (await tab.sign()).status == 200


async def test_an_old_schema_is_refused_with_the_command(tmp_path: Path) -> None:
    async with crm_database(tmp_path) as database, database.write() as conn:
        await conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        await conn.exec_driver_sql("DROP TABLE session")
    async with sidebar_bench(tmp_path, url=f"sqlite+aiosqlite:///{tmp_path / 'crm.sqlite'}", ready=False) as bench:
        component = bench.health.component("sidebar")
        await until(lambda: component.state == "failed")
        assert "run wecom-crm migrate" in component.reason
        shown = await bench.browser().get(BASE)
        assert (shown.status, 'data-code="database"' in shown.text) == (503, True)


async def test_what_nobody_thought_of_is_said_without_its_words(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = bench.browser().tab()
    await tab.open()

    def broken(*_: object) -> None:
        raise RuntimeError("a name that nobody may read")

    monkeypatch.setattr(Database, "read", broken)
    shown = await tab.browser.get(BASE)
    assert (shown.status, 'data-code="failed"' in shown.text) == (500, True)
    seen = await tab.customer()
    assert (seen.status, seen.json()) == (500, {"code": "failed"})
    assert not [one for one in bench.seen if "nobody may read" in one.text]


async def test_every_message_is_in_both_languages() -> None:
    for code, texts in MESSAGES.items():
        assert set(texts) == {"zh-CN", "en"}, code
        assert all(title and text for title, text in texts.values()), code
