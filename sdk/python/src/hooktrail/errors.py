"""What goes wrong, as a small hierarchy under :class:`HooktrailError`.

No error holds a token, a secret or an API key, nor the request's body or headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional


class HooktrailError(Exception):
    """The root of all errors of this library."""


class APIConnectionError(HooktrailError):
    """The server gave no answer that could be read.

    Whether the request took effect is then unknown, unless ``sent`` is false: nothing of it
    had gone out.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The answer did not come within the client's ``timeout``."""


class WaitTimeoutError(HooktrailError, TimeoutError):
    """An execution had not ended when ``executions.wait`` gave up; it goes on running.

    ``execution_id`` names it, ``status`` is what it was last (``pending`` or ``running``).
    """

    def __init__(self, message: str, *, execution_id: str, status: str) -> None:
        super().__init__(message)
        self.execution_id = execution_id
        self.status = status


class APIError(HooktrailError):
    """The server answered with an error.

    ``status``: the HTTP status. ``code``: the server's word for it, such as ``conflict``;
    empty when something between answered. ``message``: one sentence. ``details``: a reason by
    field, or by path in the input. ``request_id``: finds the request in the server's log.
    ``retry_after``: seconds to wait before another try, if the server gave them.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        details: Optional[Mapping[str, str]] = None,
        request_id: str = "",
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details: dict[str, str] = dict(details or {})
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"{self.status} {self.code}: {self.message}" if self.code else f"{self.status}: {self.message}"
        reasons = [f"{field}: {why}" for field, why in self.details.items() if f"{field} {why}" not in self.message]
        if reasons:
            text += f" ({'; '.join(reasons)})"
        if self.request_id:
            text += f" [request {self.request_id}]"
        return text


class ValidationError(APIError):
    """The request is wrong: ``details`` says why, by field, or by path in the input."""


class AuthenticationError(APIError):
    """The API key, the trigger's token or the signature is not valid."""


class PermissionDeniedError(APIError):
    """The key lacks a scope, the trigger is inactive, or the address may not call it."""


class NotFoundError(APIError):
    """There is no such thing in the key's workspace."""


class ConflictError(APIError):
    """The state of things forbids it: it has changed, has ended, or is in use."""


class RateLimitError(APIError):
    """Too many calls; ``retry_after`` has the seconds until one is taken again."""


class ServerError(APIError):
    """The server is at fault, overloaded, or cannot reach its database; or the answer is not
    one of Hooktrail's, so that something between must have given it."""


_BY_STATUS: dict[int, type[APIError]] = {
    400: ValidationError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: ValidationError,
    415: ValidationError,
    422: ValidationError,
    429: RateLimitError,
}


def class_of(status: int, code: str) -> type[APIError]:
    """Give the class for an answer of the server's own. The management API keeps to a few
    statuses and says the rest in the code."""
    if status >= 500:
        return ServerError
    if code == "conflict":
        return ConflictError
    return _BY_STATUS.get(status, APIError)
