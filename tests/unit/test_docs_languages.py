"""Pages that have to agree with something else: one page in two languages, and the codes that the sidebar shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidebar.words import MESSAGES

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
STATIC = ROOT / "sidebar" / "static"
TRANSLATED = sorted((ROOT / "docs").rglob("*.zh-CN.md"))
BLOCK = re.compile(r"^ *```\w*\n.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")

LOGS_IN_AGAIN = {"login_required", "session_changed"}
"""Answers that the page acts on without showing them."""


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def original_of(chinese: Path) -> Path:
    return chinese.with_name(chinese.name.replace(".zh-CN.md", ".md"))


def test_there_are_translated_pages() -> None:
    assert HOW_TO / "connect-a-corp.zh-CN.md" in TRANSLATED


@pytest.mark.parametrize("chinese", TRANSLATED, ids=lambda path: path.name)
def test_both_languages_are_in_step(chinese: Path) -> None:
    pages = (original_of(chinese), chinese)
    english_text, chinese_text = map(text_of, pages)
    assert BLOCK.findall(english_text) == BLOCK.findall(chinese_text)

    plain = [BLOCK.sub("", text) for text in (english_text, chinese_text)]
    assert shape(plain[0]) == shape(plain[1])
    # But for the way to the other language.
    links = [[target for target in LINK.findall(text) if HOW_TO / target not in pages] for text in plain]
    assert links[0] == links[1]
    assert chinese.name in plain[0]
    assert original_of(chinese).name in plain[1]


def shape(text: str) -> list[str]:
    """The levels of headings with their numbers, the marks of lists, and how many cells each row of a table has."""
    marks = re.compile(r"#+ (?:\d+\.)?|(?:-|\d+\.) ")
    found = []
    for line in text.splitlines():
        if line[:1] == "|":
            found.append(line.count("|") * "|")
        elif mark := marks.match(line):
            found.append(mark[0])
    return found


def described(heading: str) -> dict[str, str]:
    """The codes of the table below a heading, and their titles in both languages."""
    page = text_of(HOW_TO / "use-the-sidebar.md")
    found = re.search(rf"^## {heading}$\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading {heading!r}"
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| \S", found[1], re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a code is there twice"
    return dict(rows)


def words(language: str) -> dict[str, str]:
    """Kind of failure to title, of ``ZH`` or ``EN`` in words.js."""
    source = text_of(STATIC / "words.js")
    table = re.search(rf"^const {language} = \{{.*?^  failures: \{{\n(.*?)^  \}},$", source, re.MULTILINE | re.DOTALL)
    assert table is not None
    lines = [line for line in table[1].splitlines() if line.strip()]
    found = dict(re.findall(r"^    '?([\w-]+)'?: \['([^']+)', '", table[1], re.MULTILINE))
    assert len(found) == len(lines)
    also = rf"^{language}\.failures\.(\w+) = {language}\.failures\.(\w+);$"
    for new, known in re.findall(also, source, re.MULTILINE):
        found[new] = found[known]
    return found


def refusals() -> Iterator[str]:
    """The codes in the answers of the sidebar's API."""
    for path in sorted((ROOT / "sidebar").glob("*.py")):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                code = node.args[1]
                if isinstance(code, ast.Constant):
                    yield str(code.value)


def kinds() -> Iterator[str]:
    """The failures that the page names by itself."""
    for path in sorted(STATIC.glob("*.js")):
        source = text_of(path)
        yield from re.findall(r"new Failure\('([\w-]+)'", source)
        yield from re.findall(r"\bwithin\(\w+, '([\w-]+)'", source)
        yield from re.findall(r"\(\) => '([\w-]+)'", source)


def test_every_code_of_the_page_is_described_with_its_titles() -> None:
    chinese, english = words("ZH"), words("EN")
    assert set(chinese) == set(english)
    shown = (set(chinese) | set(refusals()) | set(kinds())) - LOGS_IN_AGAIN - {"leaving"}
    assert len(shown) > 20

    def title(of: dict[str, str], code: str) -> str:
        # What has no words of its own is shown with those of "failed".
        return of.get(code, of["failed"])

    titles = {code: f"{title(chinese, code)} / {title(english, code)}" for code in shown}
    assert described("What the page can show") == titles


def test_every_failure_that_the_page_names_has_words() -> None:
    assert set(kinds()) - {"leaving"} <= set(words("EN"))


def test_every_code_of_a_failed_login_is_described_with_its_titles() -> None:
    shown = {"platform": "platform-<errcode>"}
    titles = {shown.get(code, code): f"{of['zh-CN'][0]} / {of['en'][0]}" for code, of in MESSAGES.items()}
    assert described("When the login fails") == titles


def test_every_code_in_the_step_by_step_pages_is_one() -> None:
    """The table of what goes wrong at the first try."""
    known = {*described("What the page can show"), *described("When the login fails")}
    for page in (HOW_TO / "connect-a-corp.md", *TRANSLATED):
        step = re.search(r"^## 8\..*?(?=^## 9\.)", text_of(page), re.MULTILINE | re.DOTALL)
        assert step is not None
        cells = [line.split(" | ")[0] for line in step[0].splitlines() if line[:1] == "|"]
        named = {code.split(" ")[0] for cell in cells for code in re.findall(r"`([^`]+)`", cell)}
        assert len(named) > 10
        assert {re.sub(r"^platform-\d+$", "platform-<errcode>", code) for code in named} <= known, page.name
