"""Calls of tasks and flows: what run they make, and who executes it."""
from __future__ import annotations

import contextvars

from sluice import connection, context, execution, futures, interrupts, logs, names, parameters, results
from sluice.client import state_body
from sluice.errors import ParameterError, RunStopped
from sluice.flow_runs import FlowRun, keeper
from sluice.futures import AsyncTaskFuture, TaskFuture, UpstreamNotCompleted
from sluice.states import State
from sluice.task_runs import TaskRun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

    from sluice.flows import Flow
    from sluice.tasks import Task

FIRST_CONTACT_SECONDS = 5.0  # how long a flow call waits for a server to be there at all


# Tasks


def call_task(task: Task, args: Tuple[Any, ...], kwargs: Mapping[str, Any], wait_for: Optional[Iterable[Any]]) -> Any:
    """Submits a task run of the flow run the caller is in; its future, or an awaitable of it in async code."""
    run = context.current()
    if run is None:
        raise RuntimeError("Tasks cannot be called outside of a flow. To call the function itself use `.fn()`.")
    if run.is_task:
        raise RuntimeError("Tasks cannot be called from within tasks. To call the function itself use `.fn()`.")
    if not (task.is_async and run.flow.is_async):
        return submit_task(run, task, args, kwargs, wait_for, TaskFuture)
    inside = contextvars.copy_context()

    async def submission() -> TaskFuture:
        def submit() -> TaskFuture:
            return inside.run(submit_task, run, task, args, kwargs, wait_for, AsyncTaskFuture)

        if not run.runner.in_turn and not run.creation.full():
            return submit()
        import asyncio

        # The loop must go on: the task's coroutine runs on it.
        if not run.runner.in_turn:
            return await asyncio.to_thread(submit)
        async with run.turn():
            return await asyncio.to_thread(submit)

    return submission()


def submit_task(
    flow_run: FlowRun, task: Task, args: Tuple[Any, ...], kwargs: Mapping[str, Any], wait_for: Optional[Iterable[Any]], kind: Any
) -> TaskFuture:
    """Has a task run created and handed to the task runner."""
    flow_run.check()
    bound = parameters.bind(task.fn, args, kwargs)
    waiting = futures.waited_for(wait_for)
    inputs = futures.depends_on({**bound, "wait_for": waiting} if waiting else bound)
    run = TaskRun(task, flow_run, task.next_dynamic_key(), sorted(task.tags | set(context.current_tags())))
    future: TaskFuture = kind(run, futures.unfinished(inputs))
    flow_run.logger.info("Created task run %r for task %r", run.name, task.name)
    flow_run.futures.append(future)
    flow_run.outcomes.append(future)
    inside = contextvars.copy_context()

    def work() -> None:
        try:
            run.id  # raises what kept it from being created
            future.settle(inside.run(run.run, bound, waiting))
        except RunStopped as error:
            future.settle(None, error)
            if flow_run.runner.in_turn and interrupts.in_main_thread():
                raise
        except Exception as error:
            # Not the task's code, which TaskRun guards: the server refused or cannot be reached.
            logs.console("ERROR", f"Task run {run.name!r}", f"Crash detected! {type(error).__name__}: {error}")
            future.settle(None, error)
        except BaseException as error:
            future.settle(None, error)
            raise
        finally:
            run.begun()

    def start() -> None:
        if not future.waits():
            run.line_up()
        flow_run.runner.submit(work, task.is_async)

    if flow_run.runner.in_turn:
        run.create(inputs)
        work()
    else:
        flow_run.creation.add(lambda: run.create(inputs), start)
    return future


# Flows


def call_flow(flow: Flow, args: Tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Runs a flow that was called: its final state, or for an async flow an awaitable of it."""
    from sluice import runs

    parent = context.current()
    if parent is not None and parent.is_task:
        raise RuntimeError("Flows cannot be called from within tasks. Call the flow from the parent flow instead.")
    _refuse_while_spawning(flow)
    bound = parameters.bind(flow.fn, args, kwargs)
    if flow.is_async:
        return runs.call_async(flow, bound, parent)
    run = create(flow, bound, parent)
    return run if isinstance(run, State) else runs.call(run)


def _refuse_while_spawning(flow: Flow) -> None:
    if execution.spawning():
        raise RuntimeError(
            f"flow {flow.name!r} is called when its file is imported, which worker processes of ParallelTaskRunner do: "
            'put the call under `if __name__ == "__main__":`'
        )


def create(flow: Flow, bound: Dict[str, Any], parent: Optional[FlowRun] = None, tags: Optional[List[str]] = None) -> Any:
    """Creates the flow run of a call: the FlowRun, or its final State when it cannot run."""
    dummy: Optional[Dict[str, Any]] = None
    if parent is not None:
        parent.check()
        inputs = futures.depends_on(bound)
        problem_upstream: Optional[UpstreamNotCompleted] = None
        try:
            bound = {name: futures.resolve(value) for name, value in bound.items()}
        except UpstreamNotCompleted as error:
            problem_upstream = error
        client = parent.client
        dummy = client.create_task_run(
            parent.id,
            flow.name,
            names.fingerprint(f"{flow.name}{flow.fn.__module__}.{flow.fn.__qualname__}".encode()),
            names.uuid4(),
            0,
            0.0,
            tags or context.current_tags(),
            futures.recorded(inputs),
            parent.lease,
        )
        if problem_upstream is not None:
            return _not_ready(flow, parent, dummy, problem_upstream)
    else:
        client = connection.client()
    problem: Optional[Exception] = None
    if flow.should_validate_parameters:
        try:
            bound = parameters.validate(flow.fn, bound)
        except Exception as error:  # a class's own validation may raise anything
            problem = error
    # Somebody who starts a script wants to know soon that there is no server; what runs already waits for it.
    first = min(FIRST_CONTACT_SECONDS, client.transport.retry_seconds) if parent is None else None
    api_flow = client.create_flow(flow.name, retry_seconds=first)
    initial = state_body("PENDING")
    if problem is not None:
        initial = state_body("FAILED", message="Flow run received invalid parameters.", data=results.encode_exception(problem))
    body = client.create_flow_run(
        api_flow["id"],
        names.slug(),
        parameters.serialise(bound),
        initial,
        flow.version,
        tags or context.current_tags(),
        dummy["id"] if dummy else None,
    )
    run = FlowRun(flow, client, body, bound, parent)
    if parent is None:
        logs.console("INFO", "sluice.engine", f"Created flow run {run.name!r} for flow {flow.name!r}")
    else:
        parent.logger.info("Created subflow run %r for flow %r", run.name, flow.name)
    if problem is not None:
        return _refused(run, problem, State.from_api(body["state"], problem))
    run.lease = keeper(client).take(run.id, run.stop)
    return run


def _refused(run: FlowRun, problem: Exception, state: State) -> State:
    """Says that a run got invalid parameters; its final state."""
    known = isinstance(problem, ParameterError)
    run.logger.error("Flow run received invalid parameters and is marked as failed: %s", problem, exc_info=None if known else problem)
    run.logger.error("Finished in state %s", state, to_server=False)
    if run.parent is not None:
        run.parent.outcomes.append(state)
    return state


def _not_ready(flow: Flow, parent: FlowRun, dummy: Dict[str, Any], problem: UpstreamNotCompleted) -> State:
    """A subflow whose arguments did not come about: as with a task there is no run, and the parent goes on."""
    body = state_body("PENDING", "NotReady", str(problem), task_run_id=dummy["id"])
    answer = parent.client.set_task_run_state(dummy["id"], body, parent.lease, False, (dummy.get("state") or {}).get("id"))
    state = State.from_api(answer.state or parent.client.read_task_run(dummy["id"])["state"])
    parent.logger.error("Subflow %r cannot start: %s", flow.name, problem)
    parent.outcomes.append(state)
    return state
