"""What the process says about itself: live and ready, and why not.

Every part reports how it stands through its own ``Component``; nothing is probed from outside, so asking for health
costs nothing and never blocks. Reasons are words for an operator: codes and ids, no secrets and no personal data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

State = Literal["ok", "degraded", "waiting", "failed"]


class Component:
    """One part of the process. It starts as waiting ("starting")."""

    def __init__(self, name: str, clock: Callable[[], float], stalls_after: float | None) -> None:
        self.name = name
        self.state: State = "waiting"
        self.reason = "starting"
        self._clock = clock
        self._stalls_after = stalls_after
        self._turned = clock()

    def ok(self, detail: str = "") -> None:
        """It does its work."""
        self._set("ok", detail)

    def degraded(self, reason: str) -> None:
        """It works, but not all of it (a corp is paused): ready, with the reason listed."""
        self._set("degraded", reason)

    def waiting(self, reason: str) -> None:
        """It waits for something outside (the database): not ready."""
        self._set("waiting", reason)

    def failed(self, reason: str) -> None:
        """It broke and will be restarted, or a human must act: not ready."""
        self._set("failed", reason)

    def turned(self) -> None:
        """It went round its loop once; counts only for a component with ``stalls_after``."""
        self._turned = self._clock()

    @property
    def stalled(self) -> bool:
        """Whether it says that it works and last turned longer ago than it promised.

        One that waits or broke has said so: ending the process for it would take the parts down that work.
        """
        if self._stalls_after is None or self.state in {"waiting", "failed"}:
            return False
        return self._clock() - self._turned > self._stalls_after

    def _set(self, state: State, reason: str) -> None:
        self.state = state
        self.reason = reason
        self.turned()


class Health:
    """All components of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self._clock = clock
        self._components: dict[str, Component] = {}

    def component(self, name: str, stalls_after: float | None = None) -> Component:
        """The component of that name, made at the first call.

        With ``stalls_after`` (seconds) the process counts as dead when the component neither reports nor calls
        ``turned`` for so long.
        """
        if name not in self._components:
            self._components[name] = Component(name, self._clock, stalls_after)
        return self._components[name]

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Whether every loop that promised to turn does; the answer itself proves that the event loop does."""
        stalled = sorted(part.name for part in self._components.values() if part.stalled)
        return not stalled, {"status": "stalled" if stalled else "live", "stalled": stalled}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every component works; a degraded one does, and is listed with its reason."""
        ready = all(part.state in {"ok", "degraded"} for part in self._components.values())
        return ready, {
            "status": "ready" if ready else "not ready",
            "components": {
                part.name: {"state": part.state, "reason": part.reason} for part in self._components.values()
            },
        }
