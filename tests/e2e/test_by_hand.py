"""docs/how-to/try-changes-by-hand.md, step by step as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.pages import Block, blocks
from tests.support.processes import Running, running
from tests.support.product import Premises, query
from tests.support.waiting import until_async
from tests.support.wheel import ROOT
from wecom.simulator.actions import ACTIONS

PAGE = ROOT / "docs" / "how-to" / "try-changes-by-hand.md"
PROGRAM = ".venv/bin/python -m wecom_crm "
# What is another number each time.
CHANGING = re.compile(r'("(?:create_time|seconds)": )[\d.]+')


@dataclass
class Walk:
    """One user in front of three terminals."""

    premises: Premises
    session: aiohttp.ClientSession
    stack: AsyncExitStack
    terminal: Running | None = None
    answer: Callable[[], Awaitable[str]] | None = None
    """Asks for the last answer again, or for what was said so far."""

    async def step(self, block: Block) -> None:
        """Do what the block says, or hold it against what came before it."""
        text = self._here(block.text)
        if block.language == "toml":
            self.premises.config.write_text(text, encoding="utf-8")
        elif block.language == "sh":
            for line in text.splitlines():
                await self._command(line)
        elif block.language == "sql":
            self.answer = lambda: self._rows(text)
        elif block.language in {"text", "json"}:
            await self._expect(text, _plain if block.language == "text" else _structure)
        else:
            raise ValueError(f"nobody knows what a block of {block.language} is for")

    def _here(self, text: str) -> str:
        """With ports that are free here."""
        ports = {"8080": self.premises.port, "8081": self.premises.admin_port, "9090": self.premises.api_port}
        text = re.sub(r"(?<=127\.0\.0\.1:)(\d{4})\b", lambda found: str(ports[found[1]]), text)
        listen = f"[service]\nport = {self.premises.port}\nadmin_port = {self.premises.admin_port}\n"
        return text.replace("[service]\n", listen)

    async def _command(self, line: str) -> None:
        if line.startswith(PROGRAM):
            await self._program(line.removeprefix(PROGRAM).split())
        elif line.startswith("curl -s "):
            answer = await self._curl(line)
            # Reading again is harmless; what was done is not done again.
            asked = line if " -d " not in line else None
            self.answer = lambda: self._curl(asked) if asked else _known(answer)
        elif line == "rm -r data":
            await self.stack.aclose()
            assert self.premises.data.is_dir()
        else:
            raise ValueError(f"nobody knows how to run {line}")

    async def _program(self, arguments: list[str]) -> None:
        if arguments == ["migrate"]:
            done = await self.premises.run("migrate")
            assert done.status == 0, done
            return
        output = self.premises.folder / f"{arguments[0]}.out"
        folder = self.premises.folder
        terminal = await self.stack.enter_async_context(
            running(self.premises.installed, *arguments, folder=folder, output=output)
        )
        self.answer = lambda: _known(terminal.said)
        await terminal.until_said("try  " if arguments[0] == "simulate" else "ingest.listening")

    async def _curl(self, line: str) -> str:
        """What curl does with these options: -s, -d and -H."""
        words = iter(shlex.split(line)[2:])
        data: list[str] = []
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url = ""
        for word in words:
            if word == "-d":
                data.append(next(words))
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            else:
                assert word.startswith("http"), f"{word} is not known to this test"
                url = word
        method, body = ("POST", "&".join(data)) if data else ("GET", None)

        async def asked() -> str:
            async with self.session.request(method, url, data=body, headers=headers if data else None) as answer:
                return await answer.text()

        # The page's reader is slower than a second.
        said = await asked()
        while "wait one" in said:
            said = await asked()
        return said

    async def _rows(self, statement: str) -> str:
        rows = query(self.premises.crm_file, statement)
        return "".join("|".join("" if value is None else str(value) for value in row) + "\n" for row in rows)

    async def _expect(self, text: str, shape: Callable[[str], Any]) -> None:
        """The answer becomes this; rows and readiness take a moment."""
        last = ""

        async def same() -> bool:
            nonlocal last
            assert self.answer is not None
            last = await self.answer()
            return bool(shape(last) == shape(text))

        try:
            await until_async(same, 20)
        except TimeoutError:
            assert shape(last) == shape(text)


def _plain(text: str) -> str:
    return text


def _structure(text: str) -> Any:
    return json.loads(CHANGING.sub(r"\g<1>0", text))


async def _known(text: str) -> str:
    return text


@pytest.mark.asyncio
async def test_every_step_of_the_page_is_true(premises: Premises) -> None:
    steps = list(blocks(PAGE))
    assert len(steps) > 20
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        walk = Walk(premises, session, stack)
        for step in steps:
            try:
                await walk.step(step)
            except BaseException as error:
                error.add_note(f"It was the step in line {step.line} of the page:\n{step.text}")
                raise


def test_every_action_is_in_the_table_with_its_fields() -> None:
    found = re.findall(r"^\| `([\w-]+)` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    table = {action: tuple(re.findall(r"`(\w+)`", fields)) for action, fields in found}
    assert table == {action: tuple(fields) for action, (fields, _) in ACTIONS.items()}
