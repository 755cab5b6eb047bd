"""The process's connection to the API: made once, on first use."""
from __future__ import annotations

import os
import threading

from sluice import config
from sluice.client import Client
from sluice.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

_lock = threading.Lock()  # guards _client
_client: Optional[Tuple[Tuple[int, str], Client]] = None


def client() -> Client:
    """The shared client of the configured server, or of an ephemeral one when none is configured."""
    global _client
    key = (os.getpid(), config.get("SLUICE_API_URL"))  # a forked child must not share sockets
    with _lock:
        if _client is not None and _client[0] == key:
            return _client[1]
        addresses, relocate = config.api_addresses(), None
        if not addresses:
            from sluice import ephemeral

            def relocate() -> List[str]:
                return [ephemeral.start()]

            addresses = relocate()
        token = config.get("SLUICE_API_KEY")
        if not token and len(addresses) == 1:
            token = config.local_token(addresses[0])
        made = Client(Transport(addresses, token=token, authority=config.get("SLUICE_API_CA_FILE"), on_outage=_tell, relocate=relocate))
        _client = (key, made)
        return made


def known() -> Optional[Client]:
    """The shared client if there is one already."""
    with _lock:
        return None if _client is None else _client[1]


def _tell(message: str) -> None:
    from sluice import logs

    logs.console("WARNING", "sluice.client", message)


def reset() -> None:
    """Forgets the client and cached settings (tests change the environment)."""
    global _client
    with _lock:
        _client = None
    config.reset()
