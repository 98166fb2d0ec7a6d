"""What was asked of the API and what it answered."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any


class Counts:
    """Counts since the start. An outcome is an errcode (0 for success) or the name of a fault."""

    def __init__(self) -> None:
        self.foreign = 0
        """Requests with one corp's token or corpid for what exists in another corp only. Must stay 0."""
        self.revocations = 0
        self.ticket_revocations = 0
        self.gettoken: defaultdict[tuple[str, int | None], list[float]] = defaultdict(list)
        """(corpid, agentid) to the Unix times of the calls; agentid None if the secret was no agent's of that corp."""
        self._answers: Counter[tuple[str, str, int | str]] = Counter()

    def answered(self, corpid: str, path: str, outcome: int | str) -> None:
        """Count one call; ``corpid`` is empty if the call did not get so far as to tell."""
        self._answers[corpid, path, outcome] += 1

    def calls(self, *, corpid: str | None = None, path: str | None = None, outcome: int | str | None = None) -> int:
        """How many calls there were with all of what is given."""
        return sum(
            number
            for (one, other, what), number in self._answers.items()
            if corpid in {None, one} and path in {None, other} and (outcome is None or what == outcome)
        )

    def by_outcome(self, corpid: str | None = None) -> dict[int | str, int]:
        """How often the API answered what."""
        total: Counter[int | str] = Counter()
        for (one, _, outcome), number in self._answers.items():
            if corpid in {None, one}:
                total[outcome] += number
        return dict(total)

    def as_json(self) -> dict[str, Any]:
        """For people."""
        paths: Counter[str] = Counter()
        for (_, path, _), number in self._answers.items():
            paths[path] += number
        return {
            "calls": dict(sorted(paths.items())),
            "outcomes": {str(outcome): number for outcome, number in sorted(self.by_outcome().items(), key=str)},
            "gettoken": {f"{corpid}/{agentid}": len(times) for (corpid, agentid), times in self.gettoken.items()},
            "revocations": self.revocations,
            "ticket_revocations": self.ticket_revocations,
            "foreign": self.foreign,
        }
