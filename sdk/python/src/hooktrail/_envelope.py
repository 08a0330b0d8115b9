"""Results: dictionaries that do not give away in print what is shown only once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar, overload

from .types import Meta

if TYPE_CHECKING:
    from typing import Literal

T = TypeVar("T")

_SHOWN_ONCE = frozenset({"token", "hook_url", "secret", "signing_secret", "key"})


class Record(dict[str, Any]):
    """One resource. Its ``repr`` masks tokens, secrets and keys; to read or store them, take
    them by name."""

    def __repr__(self) -> str:
        return repr({name: "***" if name in _SHOWN_ONCE and value else value for name, value in self.items()})


class Envelope(dict[str, Any], Generic[T]):
    """An answer, as the server sent it: ``result["data"]``, and ``result["warnings"]`` if there
    were fields that it did not know.

    ``headers`` has the answer's headers, with names in lower case.
    """

    status_code: int
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str:
        """Finds the request in the server's log and in the events that it caused."""
        return self.headers.get("x-request-id", "")

    @property
    def replayed(self) -> bool:
        """Whether a webhook call repeated an earlier one of the same idempotency key, so that
        nothing ran now."""
        return self.headers.get("idempotent-replayed") == "true"

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, name: Literal["data"]) -> T: ...
        @overload
        def __getitem__(self, name: Literal["meta"]) -> Meta: ...
        @overload
        def __getitem__(self, name: str) -> Any: ...
        def __getitem__(self, name: str) -> Any: ...


class Page(Envelope[list[T]]):
    """A part of a list: ``page["data"]``, and where it is in ``page["meta"]``."""

    @property
    def next_cursor(self) -> Optional[str]:
        """Where the next part begins; ``None`` in the last one."""
        cursor: Optional[str] = self["meta"].get("next_cursor")
        return cursor


def envelope(document: dict[str, Any], status: int, headers: Mapping[str, str]) -> Envelope[Any]:
    """Make a result of a decoded answer."""
    data = document.get("data")
    made: Envelope[Any] = Page(document) if isinstance(data, list) else Envelope(document)
    if isinstance(data, list):
        made["data"] = [Record(entry) if isinstance(entry, dict) else entry for entry in data]
    elif isinstance(data, dict):
        made["data"] = Record(data)
    made.status_code, made.headers = status, headers
    return made
