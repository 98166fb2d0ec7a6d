"""The search for secrets in answers finds them, wherever they stand."""

from __future__ import annotations

import gzip

import pytest

from tests.support.browsing import leaks


@pytest.mark.parametrize(
    "answer",
    [
        b"[('X-Token', 'the-secret')]\n",
        b"[]\n<p>the-secret</p>",
        b"[('Content-Encoding', 'gzip')]\n" + gzip.compress(b"<p>the-secret</p>"),
        b"the-secret",
    ],
)
def test_a_planted_secret_is_found(answer: bytes) -> None:
    assert leaks([("/clean", b"[]\nnothing"), ("/leaky", answer)], ["other", "the-secret"]) == ["/leaky"]
