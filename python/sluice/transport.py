"""HTTP/1.1 over keep-alive connections to one of several addresses, with retries.

Why not http.client: importing it (and email, which it needs) costs about 20 ms, a sixth of the time a Python
flow has between being due and Running. What is needed of HTTP here is small: requests with a JSON body, answers
with a length or chunks.

Every request may be sent more than once. Callers make that harmless (idempotency keys, natural keys, or looking at
what was stored: see client.py); `Reply.repeated` says that an earlier copy of the request may have been applied.
"""
from __future__ import annotations

import json
import os
import socket
import threading
import time

from sluice.errors import ApiError, ConfigurationError, ServerUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

USER_AGENT = "sluice-python/0.1"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 40.0  # above the longest time a server holds a write while it has no leader (20 s)
RETRY_SECONDS = 300.0  # outages of two minutes are to pass unnoticed, also by what was sent before them
IDLE_SECONDS = 4.0  # an idle connection older than this is not reused: peers may close theirs after 5 s
_RETRIED_STATUS = frozenset((429, 502, 503, 504))


class Address:
    """One API base address, split for connecting."""

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("http", "https"):
            raise ConfigurationError(
                f"SLUICE_API_URL: {url!r} is not an address like http://127.0.0.1:4200/api; "
                "set it with: sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api"
            )
        authority, _, path = rest.partition("/")
        authority = authority.rpartition("@")[2]
        self.url = url.rstrip("/")
        self.secure = scheme == "https"
        self.path = ("/" + path).rstrip("/")
        if not self.path:  # everything of the API is below it
            self.path, self.url = "/api", self.url + "/api"
        host, port = authority, ""
        if authority.startswith("["):
            host, _, port = authority[1:].partition("]")
            port = port.lstrip(":")
        elif ":" in authority:
            host, _, port = authority.rpartition(":")
        if not host or (port and not port.isdigit()):
            raise ConfigurationError(f"SLUICE_API_URL: {url!r} has no valid host and port")
        self.host = host
        self.port = int(port) if port else (443 if self.secure else 80)
        self.authority = authority


class Reply:
    """An answer: status, lower-cased headers, body. `repeated`: an earlier copy of the request may have been applied."""

    __slots__ = ("status", "headers", "body", "repeated")

    def __init__(self, status: int, headers: Dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.repeated = False

    def json(self) -> Any:
        """The decoded body; None for an empty one."""
        return json.loads(self.body) if self.body else None


class OutcomeUnknown(Exception):
    """A request was sent and its answer lost: it may have been applied."""


class _Connection:
    """One keep-alive connection; used by one thread at a time."""

    def __init__(self, address: Address, seconds: float, authority: str = "") -> None:
        self.address = address
        sock = socket.create_connection((address.host, address.port), timeout=seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.secure:
            import ssl

            try:
                context = ssl.create_default_context(cafile=authority or None)
            except (OSError, ValueError) as error:
                sock.close()
                raise ConfigurationError(f"SLUICE_API_CA_FILE: {authority!r} cannot be used: {error}") from error
            try:
                sock = context.wrap_socket(sock, server_hostname=address.host)
            except BaseException:
                sock.close()
                raise
        self.sock = sock
        self.reader = sock.makefile("rb")
        self.idle_since = 0.0

    def close(self) -> None:
        for closable in (self.reader, self.sock):
            try:
                closable.close()
            except OSError:
                pass

    def _line(self) -> bytes:
        line = self.reader.readline(65537)
        if not line.endswith(b"\n"):
            raise ConnectionError("connection closed in the middle of an answer")
        return line.rstrip(b"\r\n")

    def _exactly(self, count: int) -> bytes:
        data = self.reader.read(count)
        if data is None or len(data) != count:
            raise ConnectionError("connection closed in the middle of an answer")
        return data

    def exchange(self, request: bytes, seconds: float, expect_body: bool) -> Tuple[Reply, bool]:
        """Sends a request and reads its answer; the second value says whether the connection can be used again."""
        self.sock.settimeout(seconds)
        try:
            self.sock.sendall(request)
        except ConnectionError as broken:
            # A server that refuses a request before it has read all of it answers and closes: the answer may be here.
            try:
                return self._answer(expect_body)[0], False
            except (OSError, ValueError):
                raise broken from None
        return self._answer(expect_body)

    def _answer(self, expect_body: bool) -> Tuple[Reply, bool]:
        while True:
            first = self._line().split(None, 2)
            if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
                raise ConnectionError("the answer is not HTTP")
            status = int(first[1])
            headers: Dict[str, str] = {}
            while True:
                line = self._line()
                if not line:
                    break
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            if status >= 200:  # 1xx are interim answers
                break
        keep = first[0] == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
        body = b""
        if not expect_body or status in (204, 304):
            pass
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            parts = []
            while True:
                size = int(self._line().split(b";")[0], 16)
                if size == 0:
                    while self._line():
                        pass
                    break
                parts.append(self._exactly(size))
                self._line()
            body = b"".join(parts)
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            body, keep = self.reader.read(), False
        return Reply(status, headers, body), keep


class Transport:
    """Requests to whichever of the addresses answers. Safe for use by several threads."""

    def __init__(
        self,
        addresses: List[str],
        token: str = "",
        retry_seconds: Optional[float] = None,
        on_outage: Optional[Callable[[str], None]] = None,
        relocate: Optional[Callable[[], List[str]]] = None,
        authority: str = "",
    ) -> None:
        if not addresses:
            raise ConfigurationError("no API address")
        self.addresses = [Address(url) for url in addresses]
        self.token = token
        self.authority = authority  # file of who signs the certificates of https addresses; "" is whom the machine trusts
        if retry_seconds is None:
            retry_seconds = float(os.environ.get("SLUICE_API_RETRY_SECONDS") or RETRY_SECONDS)
        self.retry_seconds = retry_seconds
        self.on_outage = on_outage  # told once per outage, when the first retry begins
        self.relocate = relocate  # where to look when nobody listens any more, for a server that comes and goes
        self._lock = threading.Lock()  # guards _idle, _closed, _retired, _told, _current and addresses
        self._idle: List[_Connection] = []
        self._closed = False
        self._retired = False
        self._told = False  # whether the present outage was told of
        self._current = 0  # index of the address that answered last

    @property
    def address(self) -> str:
        """The address that answered last, or is tried next."""
        with self._lock:
            return self.addresses[self._current].url

    def close(self) -> None:
        """Closes idle connections; requests that run finish, later ones use a connection each."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def retire(self) -> None:
        """The server is about to go for good: requests that run, and later ones, are not repeated, and look for no other server."""
        with self._lock:
            self._retired = True
        self.close()

    def _reusable(self, address: Address) -> Optional[_Connection]:
        moment = time.monotonic()
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.address is address and moment - connection.idle_since < IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    def _attempt(self, address: Address, request: bytes, seconds: float, expect_body: bool, once: bool, seen: List[bool]) -> Reply:
        """One try. Raises OSError. Appends to `seen` whenever a copy was sent that was not answered."""
        connection = self._reusable(address)
        reused = connection is not None
        while True:
            sent = False
            try:
                if connection is None:
                    connection = _Connection(address, min(CONNECT_SECONDS, seconds), self.authority)
                sent = True
                reply, keep = connection.exchange(request, seconds, expect_body)
            except (OSError, ValueError) as error:
                if connection is not None:
                    connection.close()
                if reused and not once and not isinstance(error, socket.timeout):
                    # Most likely the server closed an idle connection. A fresh one tells.
                    connection, reused = None, False
                    seen.append(True)
                    continue
                if sent:
                    seen.append(True)
                if not isinstance(error, OSError):  # a certificate that is refused is both
                    raise ConnectionError("the answer is not HTTP") from error
                raise
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            connection.idle_since = time.monotonic()
            with self._lock:
                keep = keep and not self._closed
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()
                self._leave(address)  # a node that stops closes with its answers: its port is next
            return reply

    def _leave(self, address: Address) -> None:
        """Has the next request go to another address."""
        with self._lock:
            if self.addresses[self._current] is address:
                self._current = (self._current + 1) % len(self.addresses)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        retry_seconds: Optional[float] = None,
        timeout: float = ANSWER_SECONDS,
        stop_when_unsure: bool = False,
    ) -> Reply:
        """Sends a request until it is answered with something other than "not now". A body of bytes is JSON already.

        Raises ApiError for 4xx and 5xx answers, ServerUnavailable when nobody answered in `retry_seconds`, and with
        `stop_when_unsure` OutcomeUnknown as soon as a copy was sent that may have been applied but was not answered.
        """
        payload = b"" if body is None else body if isinstance(body, bytes) else encode(body)
        allowed = self.retry_seconds if retry_seconds is None else retry_seconds
        deadline = time.monotonic() + allowed
        delay, failures = 0.05, 0
        seen: List[bool] = []  # non-empty: a copy of the request may have been applied
        while True:
            with self._lock:
                address = self.addresses[self._current]
            lines = [
                f"{method} {address.path}{path} HTTP/1.1",
                f"Host: {address.authority}",
                f"User-Agent: {USER_AGENT}",
                "Accept: application/json",
            ]
            if payload or method in ("POST", "PUT", "PATCH"):
                lines.append(f"Content-Length: {len(payload)}")
            if payload:
                lines.append("Content-Type: application/json")
            if self.token:
                lines.append(f"Authorization: Bearer {self.token}")
            for name, value in (headers or {}).items():
                lines.append(f"{name}: {value}")
            head = "\r\n".join(lines) + "\r\n\r\n"
            wait: Optional[float] = None
            try:
                reply = self._attempt(address, head.encode("latin-1") + payload, timeout, method != "HEAD", stop_when_unsure, seen)
                reply.repeated = bool(seen)
                if reply.status not in _RETRIED_STATUS:
                    self._told = False
                    if reply.status >= 400:
                        raise error_from(reply)
                    return reply
                reason = f"{reply.status} {_detail(reply)[0]}".strip()
                if _detail(reply)[1] == "unknown_outcome" or reply.status in (502, 504):
                    seen.append(True)
                try:
                    wait = float(reply.headers.get("retry-after", ""))
                except ValueError:
                    pass
                last: Optional[ApiError] = error_from(reply)
            except OSError as error:
                reason, last = f"{error.strerror or error}".strip() or type(error).__name__, None
            if seen and stop_when_unsure:
                raise OutcomeUnknown(reason)
            if self._retired:
                raise ServerUnavailable(unreachable([address], "it was told to end", 0.0))
            failures += 1
            self._leave(address)
            if failures < len(self.addresses):
                continue  # another address is tried at once
            if wait is None or wait > 5:
                wait = min(delay, 2.0)
                delay *= 1.6
            # Jitter, so that the processes of one machine do not come back in step.
            wait *= 0.75 + os.urandom(1)[0] / 512
            if self.relocate is not None and last is None:
                moved = [Address(url) for url in self.relocate()]
                with self._lock:
                    self.addresses, self._current = moved, 0
            if time.monotonic() + wait > deadline:
                if last is not None:
                    raise last
                raise ServerUnavailable(unreachable(self.addresses, reason, allowed))
            if self.on_outage is not None and failures > len(self.addresses):
                with self._lock:
                    tell, self._told = not self._told, True
                if tell:
                    self.on_outage(f"The Sluice server at {address.url} does not answer ({reason}). Trying again...")
            time.sleep(wait)


def unreachable(addresses: List[Address], reason: str, waited: float) -> str:
    """The sentence for a server that does not answer."""
    where = ", ".join(address.url for address in addresses)
    tried = f" (tried for {waited:.0f} s)" if waited >= 1 else ""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return (
            f"the certificate of the Sluice server at {where} is not trusted{tried}: {reason}. Name the file with the certificate "
            "that signs it: `sluice config set SLUICE_API_CA_FILE=/path/to/ca.pem`."
        )
    return (
        f"no Sluice server answers at {where}{tried}: {reason}. Start one with `sluice server start`, "
        "or point to another with `sluice config set SLUICE_API_URL=http://HOST:4200/api`."
    )


def encode(body: Any) -> bytes:
    """JSON, compact, UTF-8. Not-a-number values are refused: they are not JSON."""
    try:
        # Escapes would make texts in most scripts two to three times as long.
        return json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates, which only escapes can write
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _detail(reply: Reply) -> Tuple[str, str, str, str]:
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return reply.body[:200].decode("utf-8", "replace").strip(), "", "", ""
    detail = body.get("detail") or body.get("message") or body.get("exception_message") or ""
    if body.get("exception_detail"):
        detail = f"{detail} {json.dumps(body['exception_detail'])[:500]}"
    return str(detail), str(body.get("kind") or ""), str(body.get("hint") or ""), str(body.get("request_id") or "")


def error_from(reply: Reply) -> ApiError:
    """The error for an answer of 400 and above."""
    detail, kind, hint, request_id = _detail(reply)
    return ApiError(
        reply.status, detail or f"HTTP status {reply.status}", kind, hint, request_id or reply.headers.get("x-request-id", "")
    )
