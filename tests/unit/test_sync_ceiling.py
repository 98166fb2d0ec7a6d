"""The ceiling of dead letters: what a batch would add is tried on a copy."""

from __future__ import annotations

import pytest

from sync.dead_letters import Ceiling, TooManyDeadLetters


def test_a_copy_goes_on_from_where_the_original_stands() -> None:
    ceiling = Ceiling(run=3)
    ceiling.note(True)
    ceiling.note(True)
    tried = ceiling.copy()
    tried.note(True)
    with pytest.raises(TooManyDeadLetters):
        tried.note(True)


def test_and_leaves_the_original_alone() -> None:
    ceiling = Ceiling(run=2, share=0.5, window=4)
    ceiling.note(True)
    for _ in range(3):
        tried = ceiling.copy()
        tried.note(True)
        with pytest.raises(TooManyDeadLetters):
            tried.note(True)
    ceiling.note(True)
    ceiling.note(False)


def test_what_goes_well_ends_a_run() -> None:
    ceiling = Ceiling(run=1)
    for _ in range(100):
        ceiling.note(True)
        ceiling.note(False)
