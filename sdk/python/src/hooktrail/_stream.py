"""Server-Sent Events (WHATWG HTML, section 9.2): what is the same for both clients and does no I/O."""

from __future__ import annotations

import json
from typing import Any, Optional

from .errors import ServerError

SILENCE = 30.0
"""Seconds that a stream may give nothing. The server shows every 15 that it is there."""


class Reader:
    """Reads the messages of one stream, which may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._after_return = False
        self._position: Optional[int] = None
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[tuple[int, Any]]:
        """Give what a piece completes: positions, each with its event, or with ``None`` where
        the log was read up to there. What the end of the stream cuts off counts for nothing."""
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
        if piece:
            self._after_return = piece.endswith(b"\r")
        if b"\n" not in piece and b"\r" not in piece:
            self._rest += piece
            return []
        lines = (bytes(self._rest) + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = bytearray(lines.pop())
        messages = []
        for line in lines:
            if not line:
                if self._position is not None:
                    event = self._decode(json.loads, b"\n".join(self._data)) if self._data else None
                    messages.append((self._position, event))
                self._position, self._data = None, []
                continue
            name, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if name == b"id":
                self._position = self._decode(int, value)
            elif name == b"data":
                self._data.append(value)
        return messages

    @staticmethod
    def _decode(how: Any, value: bytes) -> Any:
        try:
            return how(value)
        except ValueError:
            raise ServerError("the stream of events is none of Hooktrail's: is base_url right?", status=200) from None
