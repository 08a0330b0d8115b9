"""Requests, answers and when to try again: all that is the same for both clients and does no I/O."""

from __future__ import annotations

import email.utils
import json
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional, Union
from urllib.parse import quote, urlencode, urlsplit

from ._envelope import Envelope, envelope
from ._version import __version__
from .errors import APIConnectionError, APIError, HooktrailError, NotFoundError, RateLimitError, ServerError, class_of

Moment = Union[str, datetime]
"""A time by RFC 3339, or a datetime with a time zone."""


class NotGiven:
    """The type of an argument that was left out, where ``None`` is a value."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = NotGiven()

_USER_AGENT = f"hooktrail-python/{__version__}"
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Endpoint:
    """Where the server is, as ``base_url`` says."""

    secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        hint = "base_url must be like https://hooktrail.example.com"
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port
            host = host if host.isascii() else host.encode("idna").decode()
        except ValueError:
            raise ValueError(hint) from None
        if parts.scheme not in ("http", "https") or not _VISIBLE.fullmatch(host):
            raise ValueError(hint)
        if parts.username or parts.password:
            raise ValueError("base_url must hold no credentials; pass api_key")
        if parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]*", parts.path):
            raise ValueError(hint)
        secure = parts.scheme == "https"
        return cls(secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.prefix}"


@dataclass(frozen=True)
class Request:
    """One call of the API. What may be secret is kept out of its ``repr``."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Optional[bytes] = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = True
    """Whether sending it once more, when it may have taken effect, does no harm."""
    patience: float = 0
    """Seconds that the server may take longer because it was asked to wait."""

    @property
    def target(self) -> str:
        given = {name: _parameter(name, value) for name, value in self.query.items() if value is not None}
        return self.path + ("?" + urlencode(given) if given else "")

    def lines(self, endpoint: Endpoint, api_key: Optional[str]) -> list[tuple[str, str]]:
        """Give the headers in the order to be sent."""
        lines = [
            ("Host", endpoint.authority),
            ("User-Agent", _USER_AGENT),
            ("Accept-Encoding", "identity"),
        ]
        if "Accept" not in self.headers:
            lines.append(("Accept", "application/json"))
        if "Authorization" not in self.headers:
            if not api_key:
                raise HooktrailError("no API key: pass api_key or set HOOKTRAIL_API_KEY (only fire works without)")
            lines.append(("X-API-Key", api_key))
        if self.body is not None:
            lines.append(("Content-Type", "application/json"))
        if self.body is not None or self.method == "POST":
            lines.append(("Content-Length", str(len(self.body or b""))))
        lines.extend(self.headers.items())
        return lines


def path(*parts: str, **ids: str) -> str:
    """Join the parts of a path; ``{name}`` in them stands for one of the ids."""
    joined = "/api/v1/" + "/".join(parts)
    for name, value in ids.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} must be an id, not {value!r}")
        # There is no such id, but servers resolve "%2F" and "..", and would find something else.
        if value in (".", "..") or re.search(r"[/\\]", value):
            raise NotFoundError(f"there is no {name} like {value!r}", status=404, code="not_found")
        joined = joined.replace("{%s}" % name, quote(value, safe=""))
    return joined


def fields(nullable: Mapping[str, Any], **given: Any) -> bytes:
    """Encode the fields of a request that were given; those of ``nullable`` also when they are
    ``None``."""
    kept = {name: value for name, value in nullable.items() if value is not NOT_GIVEN}
    kept.update((name, value) for name, value in given.items() if value is not None)
    return encode(kept)


def encode(value: Any) -> bytes:
    """Encode a value as JSON. Raises ``ValueError`` for NaN and infinities, ``TypeError`` for
    what JSON does not have."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_more_types).encode()


def _more_types(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment("a time", value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def moment(name: str, value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{name} needs a time zone, such as datetime.now(timezone.utc) has")
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _parameter(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return moment(name, value)
    return str(value)


def credential(name: str, value: str) -> str:
    """Check a credential that goes into a header. Its value is in no message."""
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value.strip()):
        raise ValueError(f"{name} must be visible ASCII characters without spaces")
    return value.strip()


def header(name: str, value: str) -> str:
    """Check a text that goes into a header."""
    if not _TEXT.fullmatch(value):
        raise ValueError(f"{name} must be text without control characters, and not empty")
    return value


def if_match(version: Optional[int]) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def collect(lines: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Put headers under their names in lower case."""
    headers: dict[str, str] = {}
    for name, value in lines:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    return status == 200 and headers.get("content-type", "").split(";")[0].strip().lower() == "text/event-stream"


def understand(answer: Answer, endpoint: Endpoint) -> Envelope[Any]:
    """Turn an answer into a result, empty where the server sent none, or raise what it says."""
    try:
        document = json.loads(answer.body) if answer.body else {}
    except (ValueError, RecursionError):
        document = None
    if 200 <= answer.status < 300 and isinstance(document, dict):
        return envelope(document, answer.status, answer.headers)
    raise _error(answer, document, endpoint)


def _error(answer: Answer, document: Any, endpoint: Endpoint) -> APIError:
    request_id = answer.headers.get("x-request-id", "")
    retry_after = _retry_after(answer.headers.get("retry-after", ""))
    if not isinstance(document, dict) or "error" not in document:
        kind = RateLimitError if answer.status == 429 else ServerError
        why = f"{answer.reason or 'no reason given'}; this is no answer of Hooktrail's: is base_url ({endpoint}) right?"
        return kind(why, status=answer.status, request_id=request_id, retry_after=retry_after)
    error = document["error"]
    if isinstance(error, dict):
        code, message, details = error.get("code"), error.get("message"), error.get("details")
    else:  # of a 5xx, the error is the message itself
        code, message, details = document.get("code"), error, None
    word = str(code or "")
    return class_of(answer.status, word)(
        str(message or answer.reason),
        status=answer.status,
        code=word,
        details={str(name): str(why) for name, why in details.items()} if isinstance(details, dict) else None,
        request_id=str(document.get("request_id") or request_id),
        retry_after=retry_after,
    )


def _retry_after(value: str) -> Optional[float]:
    """Read seconds or a date (RFC 9110, section 10.2.3)."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        at: datetime = email.utils.parsedate_to_datetime(value)
        return max(0.0, at.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
LONGEST_RETRY_AFTER = 61.0
"""A server's wish to wait that is longer is left to the caller; the rate limit's is not."""


class Attempts:
    """Decides after each failure of one request whether, and when, to try again."""

    def __init__(self, request: Request, most: int) -> None:
        self._request = request
        self._left = most
        self._made = 0
        self._uncertain = False

    def pause_after(self, error: HooktrailError) -> Optional[float]:
        """Give the seconds to wait before the next attempt; ``None`` when there is none."""
        wish = None
        if isinstance(error, APIConnectionError):
            harmless = not error.sent
        elif isinstance(error, APIError):
            # These two say that nothing was done.
            harmless = error.status == 429 or error.code == "overloaded"
            if not harmless and error.status not in (502, 503, 504):
                return None
            wish = error.retry_after
        else:
            return None
        if self._left <= 0 or not (harmless or self._request.repeatable):
            return None
        if wish is not None and wish > LONGEST_RETRY_AFTER:
            return None
        self._left -= 1
        self._uncertain = self._uncertain or not harmless
        # Half of the pause is left to chance, so that clients that failed together part.
        pause = min(FIRST_PAUSE * 2**self._made, LONGEST_PAUSE) * random.uniform(0.5, 1)
        self._made += 1
        return max(pause, wish or 0)

    def done_already(self, error: HooktrailError) -> bool:
        """Report whether an error only says that an earlier attempt, whose answer was lost, did
        delete what was to be deleted."""
        return (
            self._uncertain and self._request.method == "DELETE" and isinstance(error, APIError) and error.status == 404
        )
