"""HTTP/1.1 over pooled connections, by ``http.client``."""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any, Optional, Union, cast

from ._request import Answer, Endpoint, Request, collect, is_stream
from .errors import APIConnectionError, APITimeoutError

sleep = time.sleep

MOST_IDLE = 10
"""How many connections are kept for later requests."""
LONGEST_IDLE = 30.0
"""Seconds; well below what servers and proxies close after."""


class Transport:
    """Sends requests to one server. It may be used by several threads at once."""

    def __init__(self, endpoint: Endpoint, context: Optional[ssl.SSLContext]) -> None:
        self._endpoint = endpoint
        self._context = context
        self._lock = threading.Lock()
        self._idle: list[tuple[float, _Connection]] = []
        self._process = os.getpid()

    def round_trip(self, request: Request, lines: Sequence[tuple[str, str]], timeout: float) -> Answer:
        """Send a request and give its answer, in ``timeout`` seconds or never."""
        deadline = time.monotonic() + timeout
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, request, lines, deadline)
            except APITimeoutError:
                raise
            except APIConnectionError:
                # The server may have closed it while it was idle; that is no failed attempt.
                if not request.repeatable:
                    raise
        return self._exchange(self._connect(request, deadline), request, lines, deadline)

    def listen(
        self, request: Request, lines: Sequence[tuple[str, str]], timeout: float, silence: float
    ) -> Union[Stream, Answer]:
        """Send a request for a stream, and give it, or the answer that came in its place.

        Connecting, and the whole of such an answer, may take ``timeout`` seconds, and the stream
        ``silence`` to begin.
        """
        connection = self._connect(request, time.monotonic() + timeout)
        opened = False
        try:
            connection.deadline.at = time.monotonic() + silence
            connection.ask(self._endpoint, request, lines)
            response = connection.getresponse()
            headers = collect(response.getheaders())
            if is_stream(response.status, headers):
                opened = True
                return Stream(self._endpoint, request, connection, response)
            connection.deadline.at = time.monotonic() + timeout
            return Answer(response.status, response.reason, headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise failure(self._endpoint, request, error, sent=True) from error
        finally:
            if not opened:
                connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take(self) -> Optional[_Connection]:
        with self._lock:
            if self._process != os.getpid():  # the parent's connections are not to be shared
                for _, connection in self._idle:
                    connection.close()  # which ends only our hold on it
                self._idle, self._process = [], os.getpid()
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < LONGEST_IDLE and connection.is_quiet():
                    return connection
                connection.close()
        return None

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if self._process == os.getpid() and len(self._idle) < MOST_IDLE:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _connect(self, request: Request, deadline: float) -> _Connection:
        if self._endpoint.secure and self._context is None:
            self._context = ssl.create_default_context()
        connection = _Connection(self._endpoint, self._context)
        try:
            connection.open(deadline)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise failure(self._endpoint, request, error, sent=False) from error
        return connection

    def _exchange(
        self, connection: _Connection, request: Request, lines: Sequence[tuple[str, str]], deadline: float
    ) -> Answer:
        kept = False
        try:
            connection.deadline.at = deadline
            connection.ask(self._endpoint, request, lines)
            with connection.getresponse() as response:
                body = response.read()
                answer = Answer(response.status, response.reason, collect(response.getheaders()), body)
                kept = not response.will_close
        except (OSError, http.client.HTTPException) as error:
            raise failure(self._endpoint, request, error, sent=True) from error
        finally:
            if kept:
                self._give_back(connection)
            else:
                connection.close()
        return answer


class Stream:
    """An answer that goes on, on a connection of its own."""

    def __init__(
        self, endpoint: Endpoint, request: Request, connection: _Connection, response: http.client.HTTPResponse
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._connection = connection
        self._response = response

    def read(self, silence: float) -> bytes:
        """Give what comes next, within ``silence`` seconds; nothing is the end."""
        self._connection.deadline.at = time.monotonic() + silence
        try:
            return self._response.read1(64 * 1024)
        except (OSError, http.client.HTTPException) as error:
            raise failure(self._endpoint, self._request, error, sent=True) from error

    def drop(self) -> None:
        """End it; the server need not be told."""
        self._response.close()
        self._connection.close()


def failure(endpoint: Endpoint, request: Request, error: BaseException, *, sent: bool) -> APIConnectionError:
    """Say what went wrong, with what to look at."""
    what = f"{request.method} {endpoint.prefix}{request.path}"
    if isinstance(error, (TimeoutError, socket.timeout)):
        return APITimeoutError(f"{what}: {endpoint} did not answer in time (see timeout)", sent=sent)
    why = str(error) or type(error).__name__
    if sent:
        return APIConnectionError(f"{what}: the connection to {endpoint} broke: {why}")
    return APIConnectionError(
        f"{what}: cannot connect to {endpoint}: {why}; is base_url right, and the server running?", sent=False
    )


def is_quiet(descriptor: int) -> bool:
    """Report whether nothing has come on a socket, not even its end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)
    return not select.select([descriptor], [], [], 0)[0]


class _Deadline:
    """When the request under way has to be answered, by ``time.monotonic``."""

    at: float = 0

    def left(self) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Connection(http.client.HTTPConnection):
    """A connection on which the deadline bounds a request as a whole. A socket's own timeout
    begins again with every byte, so that a server that trickles would hold us for ever."""

    def __init__(self, endpoint: Endpoint, context: Optional[ssl.SSLContext]) -> None:
        super().__init__(endpoint.host, endpoint.port)
        self._tls = context if endpoint.secure else None
        self.deadline = _Deadline()

    def open(self, deadline: float) -> None:
        self.deadline.at = deadline
        made = socket.create_connection((self.host, self.port), self.deadline.left())
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                made.settimeout(self.deadline.left())
                made = self._tls.wrap_socket(made, server_hostname=self.host)
        except BaseException:
            made.close()
            raise
        self._bounded = _BoundedSocket(made, self.deadline)
        self.sock = cast(socket.socket, self._bounded)

    def ask(self, endpoint: Endpoint, request: Request, lines: Sequence[tuple[str, str]]) -> None:
        self.putrequest(request.method, endpoint.prefix + request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in lines:
            self.putheader(name, value.encode())
        try:
            self.endheaders(request.body)
        except ConnectionError:
            pass  # a server may answer, and close, before it has read all: its answer says why

    def is_quiet(self) -> bool:
        """Whether the server has neither closed an idle connection nor sent anything on it."""
        return self.sock is not None and self._bounded.is_quiet()


class _BoundedSocket:
    """What ``http.client`` needs of a socket, within a deadline."""

    def __init__(self, inner: socket.socket, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._inner.settimeout(self._deadline.left())
        self._inner.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._inner, self._deadline))

    def close(self) -> None:
        self._inner.close()

    def is_quiet(self) -> bool:
        return is_quiet(self._inner.fileno())


class _Incoming(io.RawIOBase):
    """The bytes that come in. The socket stays open until both it and this are closed."""

    def __init__(self, inner: socket.socket, deadline: _Deadline) -> None:
        self._inner = inner
        self._raw = inner.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self._inner.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
