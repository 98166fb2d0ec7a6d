"""The third-party files of the page: fetched, whole, and served byte for byte."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

import fetch_vendor
from sidebar.vendor import FILES, VendorMissing, check_vendor
from tests.support.stage import staged

ROOT = Path(fetch_vendor.__file__).parent


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm packages as the lock file names them."""
    return fetch_vendor.install(tmp_path_factory.mktemp("npm"))


@pytest.mark.asyncio
async def test_the_sdk_that_is_served_is_the_packages_file(packages: Path, tmp_path: Path) -> None:
    fetch_vendor.fetch()
    async with staged(tmp_path) as stage, aiohttp.ClientSession() as http:
        async with http.get(stage.page()) as answer:
            found = re.search(r'data-static="([^"]+)"', await answer.text())
        assert found is not None
        for name, sources in FILES.items():
            async with http.get(f"{stage.url}{found[1]}/vendor/{name}") as answer:
                assert answer.status == 200
                assert await answer.read() == b"".join((packages / source).read_bytes() for source in sources)
    assert FILES["wecom.prod.js"] == ("@wecom/jssdk/dist/wecom.prod.js",)


def test_fetching_is_done_once_and_mends_what_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    with pytest.raises(VendorMissing, match="make vendor"):
        check_vendor(folder)
    assert fetch_vendor.fetch(folder)
    check_vendor(folder)
    assert not fetch_vendor.fetch(folder)
    sdk = folder / "wecom.prod.js"
    whole = sdk.read_bytes()
    sdk.write_bytes(whole[:-1])
    assert fetch_vendor.fetch(folder)
    assert sdk.read_bytes() == whole
    sdk.unlink()
    assert fetch_vendor.fetch(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([".stamp", *FILES])


def test_another_hash_in_the_lock_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (root / name).write_text(re.sub(r"sha512-.{8}", "sha512-AAAAAAAA", text), encoding="utf-8")
    monkeypatch.setattr(fetch_vendor, "ROOT", root)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(fetch_vendor.FetchFailed, match="EINTEGRITY"):
        fetch_vendor.install(work)


def test_versions_are_exact_and_no_address_is_in_the_lock_file() -> None:
    wanted = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    text = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in text
    assert "://" not in text
    locked = json.loads(text)["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(entry["integrity"].startswith("sha512-") for path, entry in locked.items() if path)
    node = (ROOT / "requirements-node.lock").read_text(encoding="utf-8")
    assert node.startswith(fetch_vendor.NODE)


def test_the_script_says_what_is_wrong() -> None:
    # Without npm, and with a lock file for its stand-in that can't be satisfied.
    program = (
        "import fetch_vendor, pathlib, sys;"
        "fetch_vendor.shutil.which = lambda name: None;"
        "fetch_vendor._STAMP = 'no such stamp';"
        "fetch_vendor.NODE_LOCK = pathlib.Path('no such file');"
        "sys.exit(fetch_vendor.main())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be fetched" in done.stderr
