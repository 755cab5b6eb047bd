"""A server whose faults are scripted: what it does with each request that arrives, one after the other."""
from __future__ import annotations

import json
import socket
import threading
from typing import Any, Callable, Dict, List, Optional

Handler = Callable[["Request"], Optional[bytes]]


class Request:
    """One request as it arrived, and on which connection (numbered from 0)."""

    def __init__(self, method: str, path: str, headers: Dict[str, str], body: bytes, connection: int) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.connection = connection

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


def answer(status: int = 200, body: Any = None, headers: str = "") -> bytes:
    """An answer with a JSON body."""
    data = b"" if body is None else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data


DROP = None  # the request is read, and the connection closed without an answer


class FaultyServer:
    """Calls `handler` for each request; its bytes are sent as they are, DROP closes the connection.

    A body of more than `body_limit` bytes is refused with 413 and the connection reset, without reading the body.
    `requests` are those that arrived, in order; `arrived` is notified for each.
    """

    def __init__(self, handler: Handler, body_limit: Optional[int] = None) -> None:
        self._handler = handler
        self._body_limit = body_limit
        self.refused = 0  # bodies that were too large
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.requests: List[Request] = []
        self.arrived = threading.Condition()
        self._connections: List[socket.socket] = []
        self._threads: List[threading.Thread] = []
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> "FaultyServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the port and every connection; waits for the threads."""
        self._closing = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._acceptor.join()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Waits until so many requests have arrived."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.requests) >= count, 30):
                raise AssertionError(f"{len(self.requests)} requests arrived instead of {count}")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, len(self._connections) - 1), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        reader = connection.makefile("rb")
        try:
            while True:
                first = reader.readline().decode().split()
                if len(first) < 3:
                    return
                headers = {}
                while True:
                    line = reader.readline().decode().strip()
                    if not line:
                        break
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                length = int(headers.get("content-length", 0))
                if self._body_limit is not None and length > self._body_limit:
                    self.refused += 1
                    connection.sendall(answer(413, {"detail": "too large"}, "Connection: close\r\n"))
                    return  # closing with unread bytes resets the connection
                body = reader.read(length)
                request = Request(first[0], first[1], headers, body, number)
                reply = self._handler(request)
                with self.arrived:
                    self.requests.append(request)
                    self.arrived.notify_all()
                if reply is None:
                    return
                connection.sendall(reply)
                if b"Connection: close" in reply:
                    return
        except OSError:
            pass
        finally:
            reader.close()
            connection.close()


def script(*steps: Any) -> Handler:
    """A handler that does the steps in turn and repeats the last one. A step is bytes, DROP or a handler."""
    lock, position = threading.Lock(), [0]

    def handle(request: Request) -> Optional[bytes]:
        with lock:
            step = steps[min(position[0], len(steps) - 1)]
            position[0] += 1
        return step(request) if callable(step) else step

    return handle
