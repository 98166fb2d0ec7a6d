"""Everything that can go wrong between WeCom and us, named by what to do next.

::

    WeComError
    ├── CallbackError               a delivery that can't be used
    │   ├── CallbackRejected        not authentic: refuse, one answer for every reason (403)
    │   ├── CallbackMalformed       not a delivery at all: parameters or outer document (400)
    │   └── EventUnreadable         authentic, but the inner document can't be read: keep the bytes, set aside
    └── ApiError                    an API call that brought no usable answer
        ├── Retry                   passing: try again later
        │   ├── RateLimited         45009: that API of that corp is blocked for a window
        │   └── TooConcurrent       45033, 45035: fewer calls at once
        ├── TokenRejected           40014, 42001: the client renews the token and repeats once
        ├── CorpPaused              secret, trusted IP, permission: nothing helps until a human acts
        ├── NotVisible              the object can't be seen: ended, deleted, or out of range
        │   ├── NoRelation          84061 and kin: no relation between the two
        │   ├── CustomerNotVisible  40096: the customer has no follower in range
        │   └── EmployeeNotVisible  60111 and kin: the employee is gone or out of range
        ├── CodeRejected            40029 and kin: begin the login again, once
        └── RequestRefused          our request was wrong: a bug, set aside

Messages carry ids and codes, never tokens, secrets, names or query strings.
"""

from __future__ import annotations


class WeComError(Exception):
    """Root of every error that this package raises on purpose."""


class CallbackError(WeComError):
    """A delivery that can't be used."""


class CallbackRejected(CallbackError):
    """The delivery is not authentic; ``reason`` is for counters, the sender never learns it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"callback refused: {reason}")
        self.reason = reason


class CallbackMalformed(CallbackError):
    """The request is not a delivery: a parameter or the outer document is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"callback malformed: {reason}")
        self.reason = reason


class EventUnreadable(CallbackError):
    """The decrypted document can't be read as an event; the caller keeps the bytes."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"event unreadable: {reason}")
        self.reason = reason


class ApiError(WeComError):
    """An API call brought no usable answer.

    ``api`` is the path without its query, ``errcode`` the platform's code (``None`` when there was no
    readable answer), ``detail`` the platform's ``errmsg`` or what happened instead.
    """

    def __init__(self, api: str, errcode: int | None, detail: str) -> None:
        super().__init__(f"{api}: {'no answer' if errcode is None else errcode}: {detail}")
        self.api = api
        self.errcode = errcode
        self.detail = detail


class Retry(ApiError):
    """Passing trouble: network, 5xx, HTML instead of JSON, -1 (system busy), 6000."""


class RateLimited(Retry):
    """45009. ``retry_after`` is how many seconds that API of that corp stays blocked for us."""

    def __init__(self, api: str, errcode: int | None, detail: str, retry_after: float = 60.0) -> None:
        super().__init__(api, errcode, detail)
        self.retry_after = retry_after


class TooConcurrent(Retry):
    """45033, 45035: too many calls at once."""


class TokenRejected(ApiError):
    """40014, 42001 again after the one renewal."""


class CorpPaused(ApiError):
    """A configuration problem (40001, 40013, 60020, 48002, …): a human must act.

    ``retry_after`` is how many seconds to leave the corp alone before looking again.
    """

    def __init__(self, api: str, errcode: int | None, detail: str, retry_after: float = 600.0) -> None:
        super().__init__(api, errcode, detail)
        self.retry_after = retry_after


class NotVisible(ApiError):
    """The object can't be seen by this app. Absence in one answer proves nothing."""


class NoRelation(NotVisible):
    """84061, 84083, 84084: no relation between the employee and the customer."""


class CustomerNotVisible(NotVisible):
    """40096: the customer belongs to another subject or has no follower in the visible range."""


class EmployeeNotVisible(NotVisible):
    """40003, 46004, 50002, 60011, 60021, 60111, 84074, 92000: gone or outside the visible range."""


class CodeRejected(ApiError):
    """40029, 42003, 42022: the login's code was used, is too old, or was made for another app (document 91023)."""


class RequestRefused(ApiError):
    """Every other code: the request was wrong."""
