"""`get_client()`: the API for programs, as methods. `ApiClient` blocks; `AsyncApiClient` has the same methods to await."""
from __future__ import annotations

from sluice.objects import Record, ident, names_of, plain, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Dict, Iterable, List, Mapping, Optional

    from sluice.client import Answer, Client
    from sluice.states import State


def _state(state: Any) -> Dict[str, Any]:
    from sluice import results, states
    from sluice.client import state_body

    if isinstance(state, dict):
        return {**state_body(str(state.get("type", "")).upper()), **state}
    data = state.data
    if data is None and state._value is not states._NOT_GIVEN and state._value is not None:
        data = results.encode(state._value)
    return state_body(state.type, state.name, state.message, data, **state.state_details)


class ApiClient:
    """Calls of the API that wait for their answer. Objects come as Records, lists of them as lists.

    Where an object is meant, itself or its id may be given. Filters are written as the API takes them:
    `read_flow_runs(flow_run_filter={"state": {"type": {"any_": ["FAILED"]}}})`. Errors are ApiError, whose `status` is
    404 for what does not exist, and ServerUnavailable when no address answered.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def api_url(self) -> str:
        """The address that requests go to now."""
        return self._client.transport.address

    # The server

    def api_healthcheck(self) -> Optional[Exception]:
        """What is wrong with the server, None when it answers that it is well."""
        from sluice.errors import SluiceError

        try:
            self._client._get("/health", 5.0)
        except (SluiceError, OSError) as error:
            return error
        return None

    # Flows

    def create_flow(self, flow: Any) -> str:
        """The id of a decorated function's flow, or of the flow of that name; made when it does not exist."""
        return self.create_flow_from_name(flow if isinstance(flow, str) else flow.name)

    def create_flow_from_name(self, flow_name: str) -> str:
        """The id of the flow of that name, made when it does not exist."""
        return str(self._client.create_flow(flow_name)["id"])

    def read_flow(self, flow_id: Any) -> Record:
        """A flow by its id."""
        return self._get(f"/flows/{ident(flow_id)}")

    def read_flow_by_name(self, flow_name: str) -> Record:
        """A flow by its name."""
        return self._get(f"/flows/name/{_quoted(flow_name)}")

    def read_flows(self, **selection: Any) -> List[Record]:
        """Flows that filters select: see `read_flow_runs`."""
        return self._filter("/flows/filter", selection)

    # Flow runs

    def create_flow_run(
        self,
        flow: Any,
        parameters: Optional[Mapping[str, Any]] = None,
        context: Optional[Mapping[str, Any]] = None,
        tags: Optional[Iterable[str]] = None,
        state: Optional[State] = None,
        name: Optional[str] = None,
    ) -> Record:
        """A run of a flow (the decorated function, an object, or an id), in state Pending unless told otherwise."""
        from sluice import names
        from sluice.states import Pending

        id = self.create_flow(flow) if hasattr(flow, "fn") else ident(flow)
        return self._post(
            "/flow_runs/",
            {
                "flow_id": id, "name": name or names.slug(), "parameters": plain(dict(parameters or {})), "context": plain(dict(context or {})), "tags": names_of(tags),
                "state": _state(state if state is not None else Pending()), "idempotency_key": names.uuid4(),
            },
        )  # fmt: skip

    def create_flow_run_from_deployment(
        self,
        deployment: Any,
        parameters: Optional[Mapping[str, Any]] = None,
        context: Optional[Mapping[str, Any]] = None,
        state: Optional[State] = None,
        tags: Optional[Iterable[str]] = None,
        name: Optional[str] = None,
        scheduled_time: Optional[datetime] = None,
    ) -> Record:
        """A run of a deployment (an object, or an id), scheduled for now, for `scheduled_time`, or in another state.

        `parameters` are put over those of the deployment. A value that the flow's parameters do not allow is an ApiError
        that names the field.
        """
        from sluice import names
        from sluice.states import Scheduled

        body: Dict[str, Any] = {"state": _state(state if state is not None else Scheduled(scheduled_time)), "idempotency_key": names.uuid4()}
        given = {"parameters": parameters, "context": context}
        body.update({key: plain(dict(value)) for key, value in given.items() if value is not None})
        if tags is not None:
            body["tags"] = names_of(tags)
        if name:
            body["name"] = name
        return self._post(f"/deployments/{ident(deployment)}/create_flow_run", body)

    def read_flow_run(self, flow_run_id: Any) -> Record:
        """A flow run by its id."""
        return self._get(f"/flow_runs/{ident(flow_run_id)}")

    def read_flow_runs(self, **selection: Any) -> List[Record]:
        """Flow runs that filters select.

        `flow_filter`, `flow_run_filter`, `task_run_filter` and `deployment_filter` are combined; `sort`, `limit` and
        `offset` as in the API. A server gives at most 200 at once: ask for the next with `offset`.
        """
        return self._filter("/flow_runs/filter", selection)

    def count_flow_runs(self, **selection: Any) -> int:
        """How many flow runs the filters of `read_flow_runs` select."""
        return int(self._client._post("/flow_runs/count", _selection(selection)))

    def update_flow_run(self, flow_run_id: Any, **changes: Any) -> None:
        """Changes fields of a flow run: `name`, `flow_version`, `parameters`, `tags`."""
        self._client.update_flow_run(ident(flow_run_id), **plain(changes))

    def delete_flow_run(self, flow_run_id: Any) -> None:
        """Deletes a flow run with its states and logs."""
        self._send("DELETE", f"/flow_runs/{ident(flow_run_id)}")

    def set_flow_run_state(self, flow_run_id: Any, state: Any, force: bool = False) -> Answer:
        """Proposes a state. The answer's `status` is ACCEPT, REJECT, WAIT or ABORT, its `state` what is stored now."""
        from sluice.client import Answer

        return Answer(self._client._post(f"/flow_runs/{ident(flow_run_id)}/set_state", {"state": _state(state), "force": force}))

    def cancel_flow_run(self, flow_run_id: Any) -> None:
        """Cancels a flow run; one that is being executed is stopped by whoever executes it."""
        self._send("POST", f"/flow_runs/{ident(flow_run_id)}/cancel", {})

    def read_flow_run_states(self, flow_run_id: Any) -> List[State]:
        """The states a flow run has had, the oldest first."""
        return self._states("flow_run_id", flow_run_id, "/flow_run_states/")

    # Task runs

    def read_task_run(self, task_run_id: Any) -> Record:
        """A task run by its id."""
        return self._get(f"/task_runs/{ident(task_run_id)}")

    def read_task_runs(self, **selection: Any) -> List[Record]:
        """Task runs that filters select: see `read_flow_runs`."""
        return self._filter("/task_runs/filter", selection)

    def set_task_run_state(self, task_run_id: Any, state: Any, force: bool = False) -> Answer:
        """As `set_flow_run_state`."""
        from sluice.client import Answer

        return Answer(self._client._post(f"/task_runs/{ident(task_run_id)}/set_state", {"state": _state(state), "force": force}))

    def read_task_run_states(self, task_run_id: Any) -> List[State]:
        """The states a task run has had, the oldest first."""
        return self._states("task_run_id", task_run_id, "/task_run_states/")

    # Deployments

    def create_deployment(
        self,
        flow_id: Any,
        name: str,
        flow_data: Any,
        schedule: Any = None,
        parameters: Optional[Mapping[str, Any]] = None,
        tags: Optional[Iterable[str]] = None,
        flow_runner: Any = None,
        is_schedule_active: bool = True,
    ) -> str:
        """The id of the deployment of that flow and name, made, or changed when it exists.

        `flow_data` says where the code lies. `sluice deployment create` puts code there; this call only registers.
        """
        body = {
            "flow_id": ident(flow_id), "name": name, "flow_data": plain(flow_data), "schedule": plain(schedule), "parameters": plain(dict(parameters or {})),
            "tags": names_of(tags), "flow_runner": plain(flow_runner), "is_schedule_active": is_schedule_active,
        }  # fmt: skip
        return str(self._post("/deployments/", body)["id"])

    def read_deployment(self, deployment_id: Any) -> Record:
        """A deployment by its id."""
        return self._get(f"/deployments/{ident(deployment_id)}")

    def read_deployment_by_name(self, name: str) -> Record:
        """A deployment by its full name, `FLOW/DEPLOYMENT`."""
        flow, separator, deployment = name.partition("/")
        if not separator or not flow or not deployment:
            raise ValueError(f"{name!r} is not the full name of a deployment, which is FLOW/DEPLOYMENT")
        return self._get(f"/deployments/name/{_quoted(flow)}/{_quoted(deployment)}")

    def read_deployments(self, **selection: Any) -> List[Record]:
        """Deployments that filters select: see `read_flow_runs`."""
        return self._filter("/deployments/filter", selection)

    def pause_deployment(self, deployment_id: Any) -> None:
        """Stops a deployment's schedule; runs that it had planned are removed."""
        self._send("POST", f"/deployments/{ident(deployment_id)}/set_schedule_inactive")

    def resume_deployment(self, deployment_id: Any) -> None:
        """Sets a deployment's schedule going again."""
        self._send("POST", f"/deployments/{ident(deployment_id)}/set_schedule_active")

    def delete_deployment(self, deployment_id: Any) -> None:
        """Deletes a deployment. Its runs are kept."""
        self._send("DELETE", f"/deployments/{ident(deployment_id)}")

    # Concurrency limits

    def create_concurrency_limit(self, tag: str, concurrency_limit: int) -> str:
        """The id of the limit on task runs with a tag that may run at once, made or changed."""
        return str(self._post("/concurrency_limits/", {"tag": tag, "concurrency_limit": concurrency_limit})["id"])

    def read_concurrency_limit_by_tag(self, tag: str) -> Record:
        """The limit of a tag, with the task runs that hold it in `active_slots`."""
        return self._get(f"/concurrency_limits/tag/{_quoted(tag)}")

    def read_concurrency_limits(self, limit: Optional[int] = None, offset: int = 0) -> List[Record]:
        """All limits."""
        return self._filter("/concurrency_limits/filter", {"limit": limit, "offset": offset})

    def delete_concurrency_limit_by_tag(self, tag: str) -> None:
        """Removes the limit of a tag."""
        self._send("DELETE", f"/concurrency_limits/tag/{_quoted(tag)}")

    # Work queues

    def create_work_queue(
        self,
        name: str,
        tags: Optional[Iterable[str]] = None,
        deployment_ids: Optional[Iterable[Any]] = None,
        flow_runner_types: Optional[Iterable[str]] = None,
        concurrency_limit: Optional[int] = None,
    ) -> str:
        """The id of a new work queue that takes the runs which fit all that is given."""
        filter: Dict[str, Any] = {}
        if tags is not None:
            filter["tags"] = names_of(tags)
        if deployment_ids is not None:
            filter["deployment_ids"] = [ident(item) for item in deployment_ids]
        if flow_runner_types is not None:
            filter["flow_runner_types"] = names_of(flow_runner_types)
        body: Dict[str, Any] = {"name": name, "filter": filter}
        if concurrency_limit is not None:
            body["concurrency_limit"] = concurrency_limit
        return str(self._post("/work_queues/", body)["id"])

    def read_work_queue(self, id: Any) -> Record:
        """A work queue by its id."""
        return self._get(f"/work_queues/{ident(id)}")

    def read_work_queue_by_name(self, name: str) -> Record:
        """A work queue by its name."""
        return self._get(f"/work_queues/name/{_quoted(name)}")

    def read_work_queues(self, limit: Optional[int] = None, offset: int = 0) -> List[Record]:
        """All work queues."""
        return self._filter("/work_queues/filter", {"limit": limit, "offset": offset})

    def update_work_queue(self, id: Any, **changes: Any) -> None:
        """Changes fields of a work queue: `name`, `filter`, `is_paused`, `concurrency_limit`, `description`."""
        self._send("PATCH", f"/work_queues/{ident(id)}", plain(changes))

    def get_runs_in_work_queue(self, id: Any, limit: int = 10, scheduled_before: Optional[datetime] = None) -> List[Record]:
        """The runs that an agent would get of a queue now."""
        body: Dict[str, Any] = {"limit": limit}
        if scheduled_before is not None:
            body["scheduled_before"] = plain(scheduled_before)
        found: List[Record] = records(self._client._post(f"/work_queues/{ident(id)}/get_runs", body))
        return found

    def delete_work_queue_by_id(self, id: Any) -> None:
        """Deletes a work queue."""
        self._send("DELETE", f"/work_queues/{ident(id)}")

    # Logs

    def read_logs(self, log_filter: Optional[Mapping[str, Any]] = None, limit: Optional[int] = None, offset: int = 0, sort: Optional[str] = None) -> List[Record]:
        """Log lines that a filter selects: `{"flow_run_id": {"any_": [run.id]}}`."""
        return self._filter("/logs/filter", {"log_filter": log_filter, "limit": limit, "offset": offset, "sort": sort})

    # Storages and other blocks

    def read_block(self, block_id: Any) -> Record:
        """A block by its id."""
        return self._get(f"/blocks/{ident(block_id)}")

    def read_block_specs(self, type: Optional[str] = None) -> List[Record]:
        """The kinds of blocks there are, of one type (`STORAGE`) if given."""
        found: List[Record] = records(self._client._post("/block_specs/filter", {"block_spec_type": type} if type else {}))
        return found

    def create_block(self, name: str, block_spec_id: Any, data: Mapping[str, Any]) -> str:
        """The id of a new block of a kind."""
        body = {"name": name, "block_spec_id": ident(block_spec_id), "data": plain(dict(data))}
        return str(self._post("/blocks/", body)["id"])

    def get_default_storage_block(self) -> Optional[Record]:
        """The storage that code and results go to, None for the cluster's own."""
        found = self._client.default_storage_block()
        return None if found is None else Record(found)

    def set_default_storage_block(self, block_id: Any) -> None:
        """Makes a storage the one that code and results go to."""
        self._send("POST", f"/blocks/{ident(block_id)}/set_default_storage_block")

    def clear_default_storage_block(self) -> None:
        """Goes back to the cluster's own storage."""
        self._send("POST", "/blocks/clear_default_storage_block")

    def _get(self, path: str) -> Record:
        return Record(self._client._get(path))

    def _post(self, path: str, body: Any) -> Record:
        return Record(self._client._post(path, body))

    def _send(self, method: str, path: str, body: Any = None) -> None:
        self._client.transport.request(method, path, body)

    def _filter(self, path: str, selection: Mapping[str, Any]) -> List[Record]:
        found: List[Record] = records(self._client._post(path, _selection(selection)))
        return found

    def _states(self, field: str, id: Any, path: str) -> List[State]:
        from sluice.objects import state_of

        found = self._client._get(f"{path}?{field}={_quoted(ident(id))}")
        return [state_of(body) for body in found]


_FILTERS = {"flow_filter": "flows", "flow_run_filter": "flow_runs", "task_run_filter": "task_runs", "deployment_filter": "deployments", "log_filter": "logs"}


def _selection(given: Mapping[str, Any]) -> Dict[str, Any]:
    """The body of a filter request. Raises TypeError for what no request has."""
    allowed = (*_FILTERS, "sort", "limit", "offset")
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise TypeError(f"there is no {', '.join(unknown)}; there are {', '.join(allowed)}")
    return {_FILTERS.get(key, key): plain(value) for key, value in given.items() if value is not None and value != 0}


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


class AsyncApiClient:
    """The methods of ApiClient to be awaited; `async with get_client() as client` gives one.

    The calls are made in threads, so that several can be under way at once and the event loop is not held up.
    """

    def __init__(self, client: ApiClient) -> None:
        self._blocking = client

    async def __aenter__(self) -> AsyncApiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @property
    def api_url(self) -> str:
        """The address that requests go to now."""
        return self._blocking.api_url

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _awaited(name: str) -> Any:
    import functools

    blocking = getattr(ApiClient, name)

    @functools.wraps(blocking)
    async def call(self: AsyncApiClient, *args: Any, **named: Any) -> Any:
        import asyncio
        import contextvars

        bound = functools.partial(contextvars.copy_context().run, blocking, self._blocking, *args, **named)
        return await asyncio.get_running_loop().run_in_executor(None, bound)

    return call


for _name, _method in list(vars(ApiClient).items()):
    if callable(_method) and not _name.startswith("_"):
        setattr(AsyncApiClient, _name, _awaited(_name))


class _Opened:
    """What `get_client()` gives: for `with` and `async with`, and usable as it is in blocking code."""

    def __init__(self) -> None:
        self._client: Optional[ApiClient] = None

    def _made(self) -> ApiClient:
        if self._client is None:
            from sluice import connection

            self._client = ApiClient(connection.client())
        return self._client

    def __enter__(self) -> ApiClient:
        return self._made()

    def __exit__(self, *_: object) -> None:
        return None

    async def __aenter__(self) -> AsyncApiClient:
        import asyncio

        # The first use may start a server.
        return AsyncApiClient(await asyncio.get_running_loop().run_in_executor(None, self._made))

    async def __aexit__(self, *_: object) -> None:
        return None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    else:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self._made(), name)


def get_client() -> _Opened:
    """The API of the configured server, or of one that is started when none is configured.

        async with get_client() as client:            with get_client() as client:
            await client.read_flow_runs(limit=5)          client.read_flow_runs(limit=5)
    """
    return _Opened()
