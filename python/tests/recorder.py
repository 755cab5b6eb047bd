"""A proxy in front of a real server that remembers what went through it."""
from __future__ import annotations

import http.client
import http.server
import json
import threading
from typing import Any, Dict, List
from urllib.parse import urlsplit


class Exchange:
    """One request and its answer."""

    def __init__(self, method: str, path: str, headers: Dict[str, str], body: Any, status: int, answer: Any) -> None:
        self.method, self.path, self.headers, self.body, self.status, self.answer = method, path, headers, body, status, answer

    def __repr__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class Recorder:
    """`with Recorder(url) as recorder:` listens at `recorder.url`; `recorder.exchanges` are in the order of their answers."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.exchanges: List[Exchange] = []
        self._lock = threading.Lock()
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                recorder._forward(self)

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{self._target.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _forward(self, incoming: Any) -> None:
        body = incoming.rfile.read(int(incoming.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            headers = {key: value for key, value in incoming.headers.items() if key.lower() not in ("host", "connection")}
            connection.request(incoming.command, incoming.path, body, headers)
            reply = connection.getresponse()
            data = reply.read()
        except (OSError, http.client.HTTPException):  # the server ended in the middle, of a request that waits for news
            incoming.close_connection = True
            return
        finally:
            connection.close()
        with self._lock:
            self.exchanges.append(
                Exchange(incoming.command, incoming.path, {key.lower(): value for key, value in incoming.headers.items()},
                         json.loads(body) if body else None, reply.status, json.loads(data) if data else None)
            )  # fmt: skip
        try:
            self._answer(incoming, reply, data)
        except OSError:  # the client has gone
            incoming.close_connection = True

    def _answer(self, incoming: Any, reply: Any, data: bytes) -> None:
        incoming.send_response_only(reply.status)
        for key, value in reply.getheaders():
            if key.lower() not in ("connection", "content-length", "transfer-encoding"):
                incoming.send_header(key, value)
        if reply.status != 204:
            incoming.send_header("Content-Length", str(len(data)))
        incoming.end_headers()
        incoming.wfile.write(data)
        incoming.wfile.flush()
