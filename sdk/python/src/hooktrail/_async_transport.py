"""HTTP/1.1 over pooled connections, on asyncio's streams.

Not the other transport in a thread: a task that is cancelled closes its connection at once, and
no request waits for a thread.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import ssl
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Optional, TypeVar

from ._request import Answer, Endpoint, Request, collect
from ._transport import LONGEST_IDLE, MOST_IDLE, failure, is_quiet
from .errors import APIConnectionError, APITimeoutError

T = TypeVar("T")

sleep = asyncio.sleep

_LONGEST_HEAD = 256 * 1024


class AsyncTransport:
    """Sends requests to one server, in the event loop that runs at the time."""

    def __init__(self, endpoint: Endpoint, context: Optional[ssl.SSLContext]) -> None:
        self._endpoint = endpoint
        self._context = context
        self._idle: list[tuple[float, _Connection]] = []
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    async def round_trip(self, request: Request, lines: Sequence[tuple[str, str]], timeout: float) -> Answer:
        """Send a request and give its answer, in ``timeout`` seconds or never."""
        deadline = time.monotonic() + timeout
        connection = self._take()
        if connection is not None:
            try:
                return await self._exchange(connection, request, lines, deadline)
            except APITimeoutError:
                raise
            except APIConnectionError:
                # The server may have closed it while it was idle; that is no failed attempt.
                if not request.repeatable:
                    raise
        return await self._exchange(await self._connect(request, deadline), request, lines, deadline)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        if self._loop is asyncio.get_running_loop():
            for _, connection in idle:
                connection.close()
            await asyncio.gather(*(connection.closed() for _, connection in idle))

    def _take(self) -> Optional[_Connection]:
        if self._loop is not asyncio.get_running_loop():  # connections end with their loop
            self._idle, self._loop = [], asyncio.get_running_loop()
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < LONGEST_IDLE and connection.is_quiet():
                return connection
            connection.close()
        return None

    def _give_back(self, connection: _Connection) -> None:
        if self._loop is asyncio.get_running_loop() and len(self._idle) < MOST_IDLE:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()

    async def _connect(self, request: Request, deadline: float) -> _Connection:
        if self._endpoint.secure and self._context is None:
            self._context = ssl.create_default_context()
        context = self._context if self._endpoint.secure else None
        try:
            reader, writer = await _within(
                deadline,
                asyncio.open_connection(self._endpoint.host, self._endpoint.port, ssl=context, limit=_LONGEST_HEAD),
            )
        except (OSError, asyncio.TimeoutError) as error:
            raise _failure(self._endpoint, request, error, sent=False) from error
        return _Connection(reader, writer)

    async def _exchange(
        self, connection: _Connection, request: Request, lines: Sequence[tuple[str, str]], deadline: float
    ) -> Answer:
        kept = False
        try:
            head = [f"{request.method} {self._endpoint.prefix}{request.target} HTTP/1.1".encode("ascii")]
            head.extend(f"{name}: {value}".encode() for name, value in lines)
            message = b"\r\n".join(head) + b"\r\n\r\n" + (request.body or b"")
            answer, kept = await _within(deadline, connection.exchange(message))
        except (OSError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError, http.client.HTTPException) as error:
            raise _failure(self._endpoint, request, error, sent=True) from error
        finally:  # also when the task is cancelled: nobody else may get the rest of the answer
            if kept:
                self._give_back(connection)
            else:
                connection.abort()
        return answer


def _failure(endpoint: Endpoint, request: Request, error: BaseException, *, sent: bool) -> APIConnectionError:
    if isinstance(error, asyncio.TimeoutError):
        error = TimeoutError()  # which is the same only from Python 3.11 on
    return failure(endpoint, request, error, sent=sent)


async def _within(deadline: float, work: Coroutine[None, None, T]) -> T:
    left = max(deadline - time.monotonic(), 0)
    if sys.version_info >= (3, 11):
        # Before 3.12, wait_for loses a cancellation that comes together with the result.
        async with asyncio.timeout(left):
            return await work
    return await asyncio.wait_for(work, left)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def closed(self) -> None:
        try:
            await self._writer.wait_closed()
        except (OSError, EOFError):
            pass  # it is closed all the same

    def is_quiet(self) -> bool:
        """Whether the server has not closed an idle connection; what the loop has yet to see counts."""
        if self._reader.at_eof() or self._writer.is_closing():
            return False
        return is_quiet(self._writer.get_extra_info("socket").fileno())

    async def exchange(self, message: bytes) -> tuple[Answer, bool]:
        """Send a message and give its answer, and whether the connection can be used again."""
        self._writer.write(message)
        try:
            await self._writer.drain()
        except ConnectionError:
            pass  # a server may answer, and close, before it has read all: its answer says why
        while True:
            head = await self._reader.readuntil(b"\r\n\r\n")
            version, status, reason, headers = _parse(head)
            if status >= 200:
                break
        length = headers.get("content-length", "")
        if status in (204, 304):
            body, delimited = b"", True
        elif headers.get("transfer-encoding", "").lower().endswith("chunked"):
            body, delimited = await self._chunks(), True
        elif length.isdecimal():
            body, delimited = await self._reader.readexactly(int(length)), True
        else:
            body, delimited = await self._reader.read(), False
        options = [option.strip().lower() for option in headers.get("connection", "").split(",")]
        return Answer(status, reason, headers, body), delimited and version == "HTTP/1.1" and "close" not in options

    async def _chunks(self) -> bytes:
        """Read a body in chunks (RFC 9112, section 7.1)."""
        body = bytearray()
        while True:
            line = await self._reader.readuntil(b"\r\n")
            try:
                size = int(line.split(b";")[0].strip(), 16)
            except ValueError:
                size = -1
            if size < 0:
                raise http.client.HTTPException("a chunk of the answer has no size")
            if size == 0:
                break
            body += await self._reader.readexactly(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise http.client.HTTPException("a chunk of the answer is longer than it says")
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # a trailer
        return bytes(body)


def _parse(head: bytes) -> tuple[str, int, str, dict[str, str]]:
    first, _, rest = head.partition(b"\r\n")
    parts = first.decode("latin-1").split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not (parts[1].isdecimal() and len(parts[1]) == 3):
        raise http.client.HTTPException("the answer is not HTTP/1.1")
    headers = collect(http.client.parse_headers(io.BytesIO(rest)).items())
    return parts[0], int(parts[1]), parts[2] if len(parts) > 2 else "", headers
