"""Error codes of the API to classes, in one place (document 90313)."""

from __future__ import annotations

from wecom.errors import (
    ApiError,
    CodeRejected,
    CorpPaused,
    CustomerNotVisible,
    EmployeeNotVisible,
    NoRelation,
    NotVisible,
    RateLimited,
    RequestRefused,
    Retry,
    TokenRejected,
    TooConcurrent,
)

TOKEN_REJECTED = frozenset({40014, 42001})

_CLASSES: dict[int, type[ApiError]] = {
    **dict.fromkeys((-1, 6000, 45036), Retry),
    45009: RateLimited,
    **dict.fromkeys((45033, 45035), TooConcurrent),
    **dict.fromkeys(TOKEN_REJECTED, TokenRejected),
    # Secret, corp, app: somebody has to change a setting or a permission.
    **dict.fromkeys((40001, 40013, 40056, 40091, 45031, 301002, 301007, 50003), CorpPaused),
    # Trusted IP.
    **dict.fromkeys((60020, 301042), CorpPaused),
    # Trusted domain of the login's return address.
    50001: CorpPaused,
    # The app may not use the API.
    **dict.fromkeys((48001, 48002, 48004, 48005, 48006, 48009, 60031, 701008), CorpPaused),
    **dict.fromkeys((84061, 84083, 84084), NoRelation),
    40096: CustomerNotVisible,
    # Department.
    **dict.fromkeys((60003, 60123), NotVisible),
    # Tag, or group of tags.
    40068: NotVisible,
    # Customer group: no such group, dissolved, not one of customers.
    **dict.fromkeys((40050, 49008, 90501, 90509), NotVisible),
    **dict.fromkeys((40003, 46004, 48011, 50002, 60011, 60021, 60111, 84074, 92000), EmployeeNotVisible),
    **dict.fromkeys((40029, 42003, 42022), CodeRejected),
}


def class_of(errcode: int) -> type[ApiError]:
    """What to do about this code; one that is not known here is our own mistake in the request."""
    return _CLASSES.get(errcode, RequestRefused)


def error_of(api: str, errcode: int, detail: str, retry_after: float | None = None) -> ApiError:
    """The error of an answer. ``retry_after`` (seconds) goes to the classes that have one."""
    kind = class_of(errcode)
    if retry_after is not None and issubclass(kind, RateLimited | CorpPaused):
        return kind(api, errcode, detail, retry_after)
    return kind(api, errcode, detail)
