"""The API as calls: what a flow run and its tasks ask of the server, made safe to repeat."""
from __future__ import annotations

import time

from sluice import names
from sluice.errors import ServerUnavailable
from sluice.transport import OutcomeUnknown, Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Collection, Dict, List, Mapping, Optional

_EMPTY_DETAILS: Dict[str, Any] = {
    "flow_run_id": None,
    "task_run_id": None,
    "child_flow_run_id": None,
    "scheduled_time": None,
    "cache_key": None,
    "cache_expiration": None,
}


def state_body(
    type: str,
    name: str = "",
    message: Optional[str] = None,
    data: Optional[Dict[str, Any]] = None,
    **details: Any,
) -> Dict[str, Any]:
    """A state as a request carries it."""
    return {
        "type": type,
        "name": name or type.capitalize(),
        "message": message,
        "data": data,
        "state_details": {**_EMPTY_DETAILS, **details},
    }


class Answer:
    """The answer to a proposed state: `status` ACCEPT, REJECT, WAIT or ABORT; `state` what is stored now, if told."""

    __slots__ = ("status", "state", "reason", "delay_seconds")

    def __init__(self, body: Dict[str, Any]) -> None:
        details = body.get("details") or {}
        self.status: str = body["status"]
        self.state: Optional[Dict[str, Any]] = body.get("state")
        self.reason: str = details.get("reason") or ""
        self.delay_seconds: float = float(details.get("delay_seconds") or 0)


def _outcome(proposed: Dict[str, Any], before: Optional[str], stored: Optional[Dict[str, Any]]) -> Optional[Answer]:
    """Whether the stored state is what became of a proposal whose answer was lost.

    Only the holder of a run's lease proposes states, so a state other than the one before the proposal is its outcome,
    unless it is one the server sets by itself (Cancelling, Crashed, Late).
    """
    if stored is None or before is None or stored.get("id") == before:
        return None
    type, name = stored["type"], stored["name"]
    if type == proposed["type"] and (name == proposed["name"] or name in ("Retrying", "Rerunning")):
        return Answer({"status": "ACCEPT", "state": stored})
    if name == "AwaitingRetry" and proposed["type"] == "FAILED":
        return Answer({"status": "REJECT", "state": stored, "details": {"reason": "Retrying"}})
    if name == "Cached" and proposed["type"] == "RUNNING":
        return Answer({"status": "REJECT", "state": stored, "details": {"reason": "Retrieved state from cache"}})
    return None


class Client:
    """Calls of the API. Where a call takes `lease`, that is the token under which the process reports on the run."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    # Flows and flow runs

    def create_flow(self, name: str, retry_seconds: Optional[float] = None) -> Dict[str, Any]:
        """The flow of that name, made when it does not exist."""
        return self._post("/flows/", {"name": name, "tags": []}, retry_seconds=retry_seconds)

    def read_flow(self, id: str) -> Dict[str, Any]:
        return self._get(f"/flows/{id}")

    def create_flow_run(
        self,
        flow_id: str,
        name: str,
        parameters: Dict[str, Any],
        state: Dict[str, Any],
        flow_version: Optional[str] = None,
        tags: Optional[List[str]] = None,
        parent_task_run_id: Optional[str] = None,
    ) -> Dict[str, Any]:
        """A new flow run. The idempotency key makes a repeat, after an answer that was lost, give the same run."""
        return self._post(
            "/flow_runs/",
            {
                "name": name,
                "flow_id": flow_id,
                "deployment_id": None,
                "flow_version": flow_version,
                "parameters": parameters,
                "idempotency_key": names.uuid4(),
                "context": {},
                "tags": tags or [],
                "parent_task_run_id": parent_task_run_id,
                "flow_runner": None,
                "state": state,
            },
        )

    def read_flow_run(self, id: str) -> Dict[str, Any]:
        return self._get(f"/flow_runs/{id}")

    def update_flow_run(self, id: str, **fields: Any) -> None:
        """Changes fields of a flow run; others stay."""
        self.transport.request("PATCH", f"/flow_runs/{id}", fields)

    def set_flow_run_state(
        self, id: str, state: Dict[str, Any], lease: str = "", force: bool = False, before: Optional[str] = None, retry_seconds: Optional[float] = None
    ) -> Answer:
        """Proposes a state. `before`: id of the state the run had, which tells what became of a lost answer."""
        return self._propose("flow_runs", id, state, lease, force, before, retry_seconds)

    # Task runs

    def create_task_run(
        self,
        flow_run_id: str,
        name: str,
        task_key: str,
        dynamic_key: str,
        max_retries: int,
        retry_delay_seconds: float,
        tags: List[str],
        task_inputs: Dict[str, Any],
        lease: str = "",
    ) -> Dict[str, Any]:
        """The task run of (flow run, task key, dynamic key): a repeat gives the same one."""
        return self._post(
            "/task_runs/",
            {
                "name": name,
                "flow_run_id": flow_run_id,
                "task_key": task_key,
                "dynamic_key": dynamic_key,
                "cache_key": None,
                "cache_expiration": None,
                "task_version": None,
                "empirical_policy": {"max_retries": max_retries, "retry_delay_seconds": retry_delay_seconds},
                "tags": tags,
                "task_inputs": task_inputs,
                "state": state_body("PENDING"),
            },
            _lease_header(lease),
        )

    def read_task_run(self, id: str) -> Dict[str, Any]:
        return self._get(f"/task_runs/{id}")

    def set_task_run_state(
        self, id: str, state: Dict[str, Any], lease: str = "", force: bool = False, before: Optional[str] = None, retry_seconds: Optional[float] = None
    ) -> Answer:
        """As `set_flow_run_state`."""
        return self._propose("task_runs", id, state, lease, force, before, retry_seconds)

    def _propose(
        self, kind: str, id: str, state: Dict[str, Any], lease: str, force: bool, before: Optional[str], retry_seconds: Optional[float]
    ) -> Answer:
        path, body, headers = f"/{kind}/{id}/set_state", {"state": state, "force": force}, _lease_header(lease)
        allowed = self.transport.retry_seconds if retry_seconds is None else retry_seconds
        deadline = time.monotonic() + allowed
        repeated = False
        while True:
            try:
                reply = self.transport.request("POST", path, body, headers, allowed, stop_when_unsure=True)
                break
            except OutcomeUnknown as lost:
                # Look before sending another copy: RUNNING applied twice would count as a second attempt of a task.
                found = _outcome(state, before, self._get(f"/{kind}/{id}", allowed)["state"])
                if found is not None:
                    return found
                repeated = True
                allowed = deadline - time.monotonic()
                if allowed <= 0:
                    raise ServerUnavailable(f"the answer to a state report on {kind[:-1]} {id} was lost: {lost}") from lost
        answer = Answer(reply.json())
        if answer.status == "ABORT" and repeated:
            # The first copy may have arrived after we looked.
            found = _outcome(state, before, self._get(f"/{kind}/{id}", allowed)["state"])
            if found is not None:
                return found
        return answer

    # Leases of processes that no agent started

    def take_lease(self, flow_run_id: str, owner: str) -> Dict[str, Any]:
        """A lease on a flow run that no agent holds: `token`, `ttl_seconds`, `renew_seconds`. The same owner gets the same one again."""
        return self._post(f"/flow_runs/{flow_run_id}/lease", {"owner": owner})

    def renew_leases(self, tokens: Dict[str, str], known: Collection[str], wait_seconds: float) -> Dict[str, Any]:
        """`tokens`: by flow run id. The server answers at once when a run is to end, but not for those `known` to be cancelled."""
        leases: List[Dict[str, Any]] = [{"flow_run_id": id, "token": token} for id, token in tokens.items()]
        for lease in leases:
            if lease["flow_run_id"] in known:
                lease["cancelling"] = True
        body = {"leases": leases, "wait_seconds": wait_seconds}
        reply = self.transport.request("POST", "/leases/renew", body, retry_seconds=wait_seconds, timeout=wait_seconds + 5.0)
        return dict(reply.json())

    # Deployments, blocks, built-in store

    def read_deployment(self, id: str) -> Dict[str, Any]:
        return self._get(f"/deployments/{id}")

    def read_block(self, id: str) -> Dict[str, Any]:
        return self._get(f"/blocks/{id}")

    def default_storage_block(self) -> Optional[Dict[str, Any]]:
        """The default storage, or None where nothing is configured (204)."""
        reply = self.transport.request("POST", "/blocks/get_default_storage_block")
        return None if reply.status == 204 else reply.json()

    def read_kv(self, key: str) -> str:
        """A value of the built-in store."""
        return str(self._get(f"/kv/{key}"))

    def write_kv(self, key: str, value: str) -> None:
        """Writes a value of the built-in store, in place of one that is there."""
        self.transport.request("POST", f"/kv/{key}", value)

    # Logs

    def send_logs(self, logs: bytes, producer: str, sequence: int, retry_seconds: float) -> None:
        """One batch, a JSON array. The same (producer, sequence) is stored once, however often it is sent."""
        headers = {"X-Sluice-Log-Producer": producer, "X-Sluice-Log-Sequence": str(sequence)}
        self.transport.request("POST", "/logs/", logs, headers, retry_seconds)

    def _get(self, path: str, retry_seconds: Optional[float] = None) -> Any:
        return self.transport.request("GET", path, retry_seconds=retry_seconds).json()

    def _post(
        self, path: str, body: Any, headers: Optional[Mapping[str, str]] = None, retry_seconds: Optional[float] = None
    ) -> Any:
        return self.transport.request("POST", path, body, headers, retry_seconds).json()


def get_client() -> Any:
    """The API for programs: `async with get_client() as client`, or `with` for one that blocks. See sluice.api."""
    from sluice import api

    return api.get_client()


def _lease_header(lease: str) -> Dict[str, str]:
    return {"X-Sluice-Lease": lease} if lease else {}
