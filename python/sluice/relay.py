"""Storages that need credentials and libraries, used through an endpoint of this machine that has both: that of the agent,
whose address and token are in the environment of a flow's process, or in scripts `sluice storage relay`, started when it
is needed.

`POST {address}/{block id}` writes its body and answers {"key": KEY}; `GET {address}/{block id}?key=KEY` reads.
"""
from __future__ import annotations

import atexit
import os
import threading

from sluice.errors import ApiError, ConfigurationError, ServerUnavailable, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import List, Optional, Tuple

    from sluice.client import Client
    from sluice.transport import Reply, Transport

URL, TOKEN = "SLUICE_STORAGE_URL", "SLUICE_STORAGE_TOKEN"
ANSWER_SECONDS = 330.0  # a little more than the endpoint takes for a value at most
RETRY_SECONDS = 30.0  # of a storage that does not answer, beside what the endpoint tries itself

_lock = threading.Lock()  # guards _found
_found: Optional[Tuple[int, Transport]] = None  # of which process; a forked child must not share sockets


def given() -> bool:
    """Whether an agent gave this process an endpoint."""
    return bool(os.environ.get(URL))


def write(block_id: str, data: bytes, client: Client) -> str:
    """Writes to a storage and gives the key. Raises StorageError."""
    return str(_request("POST", f"/{block_id}", data, client).json()["key"])


def read(block_id: str, key: str, client: Client) -> bytes:
    """What a storage holds under a key. Raises StorageError."""
    from urllib.parse import quote

    return _request("GET", f"/{block_id}?key={quote(key, safe='')}", None, client).body


def _request(method: str, path: str, data: Optional[bytes], client: Client) -> Reply:
    try:
        return _transport(client).request(method, path, data, timeout=ANSWER_SECONDS)
    except ApiError as error:
        raise StorageError(str(error)) from error
    except ServerUnavailable as error:
        raise StorageError("the endpoint for storages on this machine does not answer: it ended with its agent, or with this flow run") from error


def _transport(client: Client) -> Transport:
    global _found
    from sluice.transport import Transport

    with _lock:
        if _found is None or _found[0] != os.getpid():
            address, token = os.environ.get(URL), os.environ.get(TOKEN, "")
            if not address:
                address, token = _start(client)
            _found = (os.getpid(), Transport([address], token=token, retry_seconds=RETRY_SECONDS))
        return _found[1]


def _start(client: Client) -> Tuple[str, str]:
    """Starts the endpoint of this process; it ends with it."""
    import json
    import subprocess

    from sluice import ephemeral

    try:
        command: List[str] = [ephemeral.find_binary(), "storage", "relay"]
    except ConfigurationError as error:
        raise StorageError(
            "storages in a cloud are used through the `sluice` binary, and none was found: put it on the PATH, or name it in SLUICE_BINARY"
        ) from error
    environment = dict(os.environ, SLUICE_API_URL=",".join(address.url for address in client.transport.addresses))
    if client.transport.token:
        environment["SLUICE_API_KEY"] = client.transport.token
    try:
        # A session of its own: an interrupt from the terminal must not take the last results' way.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )
    except OSError as error:
        raise StorageError(f"cannot start `{' '.join(command)}`: {error}") from error
    assert process.stdout is not None and process.stderr is not None
    line, _ = ephemeral._first_line(process.stdout.fileno())
    try:
        said = json.loads(line)
        address, token = str(said["url"]), str(said["token"])
    except (ValueError, KeyError, TypeError):
        process.kill()
        _, problem = process.communicate()
        raise StorageError(f"`{' '.join(command)}` did not start: {problem.decode('utf-8', 'replace').strip()}") from None
    threading.Thread(target=process.stderr.read, name="sluice-storage-relay", daemon=True).start()  # what it logs must not block it
    atexit.register(_end, process, os.getpid())
    return address, token


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
