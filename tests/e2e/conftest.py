"""What these tests run: the wheel, built and installed once, and a folder for each to use it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.product import Premises
from tests.support.wheel import Installed, build_and_install


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The installed wheel."""
    return build_and_install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def premises(installed: Installed, tmp_path: Path) -> Premises:
    """A folder without a configuration so far."""
    return Premises(installed, tmp_path)
