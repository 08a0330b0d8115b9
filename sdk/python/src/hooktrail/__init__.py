"""Client for Hooktrail: webhooks that run agents, with a trail of everything that happened."""

from ._async_client import AsyncEventTail, AsyncHooktrail
from ._client import EventTail, Hooktrail
from ._envelope import Envelope, Page, Record
from ._signing import sign, verify
from ._version import __version__
from .errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    ConflictError,
    HooktrailError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    ValidationError,
    WaitTimeoutError,
)

__all__ = [
    "APIConnectionError",
    "APIError",
    "APITimeoutError",
    "AsyncEventTail",
    "AsyncHooktrail",
    "AuthenticationError",
    "ConflictError",
    "Envelope",
    "EventTail",
    "Hooktrail",
    "HooktrailError",
    "NotFoundError",
    "Page",
    "PermissionDeniedError",
    "RateLimitError",
    "Record",
    "ServerError",
    "ValidationError",
    "WaitTimeoutError",
    "__version__",
    "sign",
    "verify",
]
