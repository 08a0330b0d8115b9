"""A server on the loopback that answers as a test says, byte by byte if it has to."""

import json
import socket
import threading


def answer(status=200, document=None, *, reason="Reason", **headers):
    """Make an answer; header names are given with _ for -."""
    body = b"" if document is None else document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} {reason}"]
    if status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    lines.extend(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def data(document, **headers):
    return answer(200, {"data": document}, **headers)


def error(status, code, message="a reason", details=None, **headers):
    if status >= 500:
        document = {"error": message, "code": code, "request_id": "r-1"}
    else:
        document = {"error": {"code": code, "message": message, "details": details or {}}, "request_id": "r-1"}
    return answer(status, document, **headers)


def close(_connection):
    """Close the connection without an answer."""


class Request:
    def __init__(self, connection, method, target, headers, body):
        self.connection = connection  # its number
        self.method, self.target, self.headers, self.body = method, target, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """Gives the answers in turn: bytes are sent, and a function gets the socket, which is closed
    after it. An answer with "Connection: close" closes it as well."""

    def __init__(self, *answers, context=None):
        self.answers = list(answers)
        self.requests = []
        self.closed = threading.Semaphore(0)  # released for each connection that has been closed
        self._context = context
        self._lock = threading.Lock()
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._host = "localhost" if context else "127.0.0.1"
        self.url = f"{'https' if context else 'http'}://{self._host}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who accepts
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is closed already

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
                number = len(self._connections)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection, number):
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as incoming:
                while self._exchange(connection, incoming, number):
                    pass
        except OSError:
            pass  # the client has gone, which may be what the test is about
        finally:
            self.closed.release()

    def _exchange(self, connection, incoming, number):
        first = incoming.readline().decode().split()
        if not first:
            return False
        headers = {}
        for line in iter(incoming.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = incoming.read(int(headers.get("content-length", 0)))
        with self._lock:
            self.requests.append(Request(number, first[0], first[1], headers, body))
            given = self.answers.pop(0) if self.answers else answer(500, {"error": "the test has no more answers"})
        if callable(given):
            given(connection)
            return False
        connection.sendall(given)
        return b"Connection: close" not in given
