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
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Optional, TypeVar, Union

from ._request import Answer, Endpoint, Request, collect, is_stream
from ._transport import LONGEST_IDLE, MOST_IDLE, failure, is_quiet
from .errors import APIConnectionError, APITimeoutError

T = TypeVar("T")

sleep = asyncio.sleep

_LONGEST_HEAD = 256 * 1024
_MOST_AT_ONCE = 64 * 1024
_BROKEN = (OSError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError, http.client.HTTPException)


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

    async def listen(
        self, request: Request, lines: Sequence[tuple[str, str]], timeout: float, silence: float
    ) -> Union[Stream, Answer]:
        """Send a request for a stream, and give it, or the answer that came in its place.

        Connecting, and the whole of such an answer, may take ``timeout`` seconds, and the stream
        ``silence`` to begin.
        """
        connection = await self._connect(request, time.monotonic() + timeout)
        opened = False
        try:
            head = await _within(time.monotonic() + silence, connection.ask(_message(self._endpoint, request, lines)))
            _, status, reason, headers = head
            if is_stream(status, headers):
                opened = True
                return Stream(self._endpoint, request, connection, connection.pieces(headers))
            body, _ = await _within(time.monotonic() + timeout, connection.rest(status, headers))
            return Answer(status, reason, headers, body)
        except _BROKEN as error:
            raise _failure(self._endpoint, request, error, sent=True) from error
        finally:
            if not opened:
                connection.abort()

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
            message = _message(self._endpoint, request, lines)
            answer, kept = await _within(deadline, connection.exchange(message))
        except _BROKEN as error:
            raise _failure(self._endpoint, request, error, sent=True) from error
        finally:  # also when the task is cancelled: nobody else may get the rest of the answer
            if kept:
                self._give_back(connection)
            else:
                connection.abort()
        return answer


class Stream:
    """An answer that goes on, on a connection of its own."""

    def __init__(
        self, endpoint: Endpoint, request: Request, connection: _Connection, pieces: AsyncIterator[bytes]
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._connection = connection
        self._pieces = pieces

    async def read(self, silence: float) -> bytes:
        """Give what comes next, within ``silence`` seconds; nothing is the end."""
        try:
            return await _within(time.monotonic() + silence, _next(self._pieces))
        except _BROKEN as error:
            raise _failure(self._endpoint, self._request, error, sent=True) from error

    def drop(self) -> None:
        """End it; the server need not be told."""
        try:
            self._connection.abort()
        except RuntimeError:
            pass  # the loop has ended, and the connection with it


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    try:
        return await pieces.__anext__()
    except StopAsyncIteration:
        return b""


def _message(endpoint: Endpoint, request: Request, lines: Sequence[tuple[str, str]]) -> bytes:
    head = [f"{request.method} {endpoint.prefix}{request.target} HTTP/1.1".encode("ascii")]
    head.extend(f"{name}: {value}".encode() for name, value in lines)
    return b"\r\n".join(head) + b"\r\n\r\n" + (request.body or b"")


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

    async def ask(self, message: bytes) -> tuple[str, int, str, dict[str, str]]:
        """Send a message and give the head of its answer."""
        self._writer.write(message)
        try:
            await self._writer.drain()
        except ConnectionError:
            pass  # a server may answer, and close, before it has read all: its answer says why
        while True:
            head = _parse(await self._reader.readuntil(b"\r\n\r\n"))
            if head[1] >= 200:
                return head

    async def rest(self, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
        """Give the body of an answer, and whether its end was told apart from the connection's."""
        if status in (204, 304):
            return b"", True
        body = bytearray()
        async for piece in self.pieces(headers):
            body += piece
        return bytes(body), _is_chunked(headers) or headers.get("content-length", "").isdecimal()

    async def exchange(self, message: bytes) -> tuple[Answer, bool]:
        """Send a message and give its answer, and whether the connection can be used again."""
        version, status, reason, headers = await self.ask(message)
        body, delimited = await self.rest(status, headers)
        options = [option.strip().lower() for option in headers.get("connection", "").split(",")]
        return Answer(status, reason, headers, body), delimited and version == "HTTP/1.1" and "close" not in options

    async def pieces(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        """Give the body of an answer as it comes."""
        length = headers.get("content-length", "")
        if _is_chunked(headers):
            async for piece in self._chunks():
                yield piece
        elif length.isdecimal():
            async for piece in self._exactly(int(length)):
                yield piece
        else:
            while True:
                piece = await self._reader.read(_MOST_AT_ONCE)
                if not piece:
                    return
                yield piece

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size > 0:
            piece = await self._reader.read(min(size, _MOST_AT_ONCE))
            if not piece:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Read a body in chunks (RFC 9112, section 7.1)."""
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
            async for piece in self._exactly(size):
                yield piece
            if await self._reader.readexactly(2) != b"\r\n":
                raise http.client.HTTPException("a chunk of the answer is longer than it says")
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # a trailer


def _is_chunked(headers: dict[str, str]) -> bool:
    return headers.get("transfer-encoding", "").lower().endswith("chunked")


def _parse(head: bytes) -> tuple[str, int, str, dict[str, str]]:
    first, _, rest = head.partition(b"\r\n")
    parts = first.decode("latin-1").split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not (parts[1].isdecimal() and len(parts[1]) == 3):
        raise http.client.HTTPException("the answer is not HTTP/1.1")
    headers = collect(http.client.parse_headers(io.BytesIO(rest)).items())
    return parts[0], int(parts[1]), parts[2] if len(parts) > 2 else "", headers
