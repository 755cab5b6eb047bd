"""Leases that this process holds on flow runs no agent gave it: kept alive by one thread."""
from __future__ import annotations

import os
import sys
import threading
import time

from sluice.errors import ApiError, FlowCancelled, LeaseLost, SluiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional, Set, Tuple

    from sluice.client import Client


def owner() -> str:
    """Who this process is, for people: `python leo_flow.py on host (pid 123)`."""
    import socket

    script = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c") else "interpreter"
    if script == "engine.py":
        script = "-m sluice.engine"
    return f"python {script} on {socket.gethostname()} (pid {os.getpid()})"


class LeaseKeeper:
    """Takes leases and renews them until they are given up. `on_end` of a lease is called from the thread, once.

    The server holds each renewal while there is nothing to tell, so what is cancelled is known at once.
    Through an outage it goes on trying: what ends a lease is the server's word, never a missing answer.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()  # guards what follows
        self._held: Dict[str, Tuple[str, Callable[[BaseException], None]]] = {}
        self._renew_seconds = 4.0
        self._thread: Optional[threading.Thread] = None

    def take(self, flow_run_id: str, on_end: Callable[[BaseException], None]) -> str:
        """The token of a new lease. Raises ApiError (409) when somebody else holds one."""
        answer = self._client.take_lease(flow_run_id, owner())
        with self._changed:
            self._held[flow_run_id] = (answer["token"], on_end)
            self._renew_seconds = min(self._renew_seconds, max(0.05, float(answer.get("renew_seconds") or 4.0)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sluice-leases", daemon=True)
                self._thread.start()
        return str(answer["token"])

    def give_up(self, flow_run_id: str) -> None:
        """Stops renewing. The lease itself ended with the run's terminal state, or will expire."""
        with self._changed:
            self._held.pop(flow_run_id, None)
            self._changed.notify_all()

    def _run(self) -> None:
        known: Set[str] = set()  # runs that were told to end
        while True:
            with self._changed:
                if not self._held:
                    self._thread = None
                    return
                held = {id: token for id, (token, _) in self._held.items()}
                wait = self._renew_seconds
            began, known = time.monotonic(), known & held.keys()
            told = self._renew(held, known, wait)
            with self._changed:  # a server that does not wait, or does not answer, is not asked in a circle
                self._changed.wait(0.02 if told else max(0.02, wait - (time.monotonic() - began)))

    def _renew(self, held: Dict[str, str], known: Set[str], wait: float) -> bool:
        """Renews once, and says whether the server had something to tell."""
        try:
            answer = self._client.renew_leases(held, known, wait)
        except ApiError as error:
            if error.status != 404:
                return False
            answer = {"lost": [{"flow_run_id": id, "reason": str(error)} for id in held]}
        except (SluiceError, OSError):
            return False
        told = False
        for lost in answer.get("lost") or ():
            told = True
            self._end(lost["flow_run_id"], held, LeaseLost(str(lost.get("reason") or "The lease on this flow run was lost.")))
        for id in answer.get("cancelling") or ():
            if id not in known:
                known.add(id)
                told = True
                self._end(id, held, FlowCancelled("The flow run was cancelled."), keep=True)
        return told

    def _end(self, id: str, asked: Dict[str, str], error: BaseException, keep: bool = False) -> None:
        with self._changed:
            found = self._held.get(id)
            if found is None or found[0] != asked.get(id):
                return  # ended by the run itself meanwhile
            if not keep:
                del self._held[id]
        found[1](error)
