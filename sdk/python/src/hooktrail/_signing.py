from __future__ import annotations

import hashlib
import hmac
import re
from typing import Optional, Union

_SIGNATURE = re.compile(r"sha256=([0-9a-fA-F]{64})")


def sign(body: Union[str, bytes], secret: Union[str, bytes]) -> str:
    """Give the value of ``X-Webhook-Signature`` for a body: ``sha256=`` and the hex
    HMAC-SHA256 of its exact bytes, keyed with the trigger's secret.

    Text counts as its UTF-8. Raises ``ValueError`` for an empty secret.
    """
    key = _bytes(secret)
    if not key:
        raise ValueError("the secret must not be empty: anybody could sign with that")
    return "sha256=" + hmac.new(key, _bytes(body), hashlib.sha256).hexdigest()


def verify(body: Union[str, bytes], signature: Optional[str], secret: Union[str, bytes]) -> bool:
    """Report whether a signature is the one that :func:`sign` gives, in constant time.

    ``body`` must be the bytes as they came, before any parsing. What is no signature at all
    is simply not valid, nor is ``None``, as of a header that is absent. Raises ``ValueError`` for an empty secret.
    """
    expected = sign(body, secret)
    given = _SIGNATURE.fullmatch((signature or "").strip(" \t\r\n"))
    return given is not None and hmac.compare_digest(expected, "sha256=" + given[1].lower())


def _bytes(value: Union[str, bytes]) -> bytes:
    return value.encode() if isinstance(value, str) else value
