"""Error codes: each to the class that says what to do next."""

from __future__ import annotations

import pytest

from wecom import errors
from wecom.errcodes import class_of, error_of

TABLE = {
    errors.Retry: (-1, 6000, 45036),
    errors.RateLimited: (45009,),
    errors.TooConcurrent: (45033, 45035),
    errors.TokenRejected: (40014, 42001),
    errors.CorpPaused: (40001, 40013, 60020, 301042, 48002, 50001, 50003, 301007),
    errors.NotVisible: (40050, 40068, 49008, 90501, 90509),
    errors.NoRelation: (84061, 84083, 84084),
    errors.CustomerNotVisible: (40096,),
    errors.EmployeeNotVisible: (40003, 46004, 60111, 60011, 84074),
    errors.CodeRejected: (40029, 42003, 42022),
    errors.RequestRefused: (40058, 40063, 41001, 41035, 999999),
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in TABLE.items() for code in codes])
def test_each_code_has_its_class(kind: type[errors.ApiError], code: int) -> None:
    assert class_of(code) is kind
    error = error_of("externalcontact/get", code, "words")
    assert type(error) is kind
    assert (error.api, error.errcode, error.detail) == ("externalcontact/get", code, "words")


@pytest.mark.parametrize("code", [45009, 40001])
def test_how_long_to_wait_goes_along(code: int) -> None:
    error = error_of("a", code, "words", 12.5)
    assert isinstance(error, errors.RateLimited | errors.CorpPaused)
    assert error.retry_after == 12.5


def test_others_have_nothing_to_wait_for() -> None:
    assert not hasattr(error_of("a", 84061, "words", 12.5), "retry_after")
