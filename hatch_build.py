"""Hatchling's build hook: a wheel has the page's third-party files in it, which the checkout does not."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class VendorHook(BuildHookInterface[Any]):
    """Fetches them before the files of the wheel are gathered; ``artifacts`` in pyproject.toml takes them in."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the environment of the build needs beyond hatchling: npm, where there is none."""
        return [] if shutil.which("npm") else [self._fetching().NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raises ``FetchFailed``, which ends the build."""
        self._fetching().fetch()

    def _fetching(self) -> Any:
        # The root is not on the path while the project is being built.
        if self.root not in sys.path:
            sys.path.insert(0, self.root)
        import fetch_vendor

        return fetch_vendor
