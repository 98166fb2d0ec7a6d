"""What every test gets: an environment without the developer's own settings."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WECOM_CRM_") and not name.startswith("WECOM_CRM_TEST_"):
            monkeypatch.delenv(name)
