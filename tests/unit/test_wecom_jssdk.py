"""The signature that the client checks, against published and computed vectors."""

from __future__ import annotations

import pytest

from wecom.jssdk import signature

PUBLISHED = (
    "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg",
    "Wm3WZYTPz0wzccnW",
    1414587457,
    "http://mp.weixin.qq.com?params=value",
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(PUBLISHED, "0f9de62fce790f9a083d5c99e95740ceb90c27ed", id="document 90506"),
        pytest.param(
            (
                "TESTTICKET0001",
                "abc123XYZ",
                1700000000,
                "https://crm.example.com/side/?agent=1000002&name=%E5%BC%A0%E4%B8%89",
            ),
            "9e3f60859b7bcede30693967248294fbc1d9ed2e",
            id="escapes stay as they are",
        ),
    ],
)
def test_vectors(given: tuple[str, str, int, str], expected: str) -> None:
    assert signature(*given) == expected


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param((f"{PUBLISHED[0]}x", *PUBLISHED[1:]), id="ticket"),
        pytest.param((PUBLISHED[0], "x", *PUBLISHED[2:]), id="noncestr"),
        pytest.param((*PUBLISHED[:2], PUBLISHED[2] + 1, PUBLISHED[3]), id="timestamp"),
        pytest.param((*PUBLISHED[:3], f"{PUBLISHED[3]}#"), id="url"),
    ],
)
def test_every_part_counts(changed: tuple[str, str, int, str]) -> None:
    assert signature(*changed) != signature(*PUBLISHED)
