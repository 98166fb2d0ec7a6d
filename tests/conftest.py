"""What every test gets: an environment without the developer's own settings, and real servers if it asks for them."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ("tests.support.servers.fixtures",)


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WECOM_CRM_") and not name.startswith("WECOM_CRM_TEST_"):
            monkeypatch.delenv(name)
