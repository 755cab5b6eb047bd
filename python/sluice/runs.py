"""Execution of flow and task runs: what is reported when, and what ends a run."""
from __future__ import annotations

import contextvars
import threading
import time

from sluice import connection, context, futures, interrupts, logs, names, parameters, results, states, timestamps
from sluice.client import state_body
from sluice.errors import (
    ApiError,
    FlowCancelled,
    LeaseLost,
    ParameterError,
    RunAborted,
    RunStopped,
    ServerUnavailable,
    Terminated,
)
from sluice.futures import AsyncTaskFuture, TaskFuture, UpstreamNotCompleted
from sluice.leases import LeaseKeeper
from sluice.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

    from sluice.client import Answer, Client
    from sluice.flows import Flow
    from sluice.tasks import Task

LOG_FLUSH_SECONDS = 2.0  # how long the final state waits for the lines before it
FIRST_CONTACT_SECONDS = 5.0  # how long a flow call waits for a server to be there at all
LAST_WORDS_SECONDS = 5.0  # how long a process that must end tries to say so

LEASE_LOST = "The lease on this flow run was lost."


class FlowTimedOut(RunStopped):
    """The flow ran longer than its `timeout_seconds`."""


class FlowRun:
    """One flow run that this process executes."""

    is_task = False

    def __init__(
        self, flow: Flow, client: Client, body: Dict[str, Any], bound: Mapping[str, Any], parent: Optional[FlowRun] = None, lease: str = ""
    ) -> None:
        self.flow = flow
        self.client = client
        self.id: str = body["id"]
        self.name: str = body["name"]
        self.parameters = dict(bound)
        self.parent = parent
        self.lease = lease
        self.flow_run = self
        self.shipper = logs.shipper(client)
        logs.follow_extra_loggers()
        self.logger = logs.RunLogger("sluice.flow_runs", f"Flow run {self.name!r}", self.shipper, self.id)
        self.storage_block: Optional[Dict[str, Any]] = parent.storage_block if parent else None
        self.state_id: Optional[str] = (body.get("state") or {}).get("id")
        self.runner: Any = None
        self.loop: Any = None  # the event loop that coroutines of tasks run on, once one is needed
        self.futures: List[TaskFuture] = []
        self.outcomes: List[Any] = []  # futures of tasks and final states of subflows, in order of their calls
        self._stopped = threading.Condition()
        self._stop: Optional[BaseException] = None

    # Stopping

    def stop(self, reason: BaseException) -> None:
        """Ends the run at its next opportunity; at once where a signal can reach the main thread."""
        with self._stopped:
            if self._stop is None:
                self._stop = reason
            self._stopped.notify_all()
        interrupts.poke()

    def stop_reason(self) -> Optional[BaseException]:
        """What ends this run or one it is part of, if anything."""
        if self._stop is not None:
            return self._stop
        return self.parent.stop_reason() if self.parent is not None else None

    def check(self) -> None:
        """Raises what ends the run, if anything."""
        reason = self.stop_reason()
        if reason is not None:
            raise reason

    def sleep(self, seconds: float) -> None:
        """Waits; raises when the run is stopped meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            with self._stopped:
                if self._stop is None:
                    # A parent's stop does not notify this condition: look at least twice a second.
                    self._stopped.wait(min(left, 0.5))

    def wait(self, event: threading.Event, timeout: Optional[float] = None) -> bool:
        """Waits for an event; raises when the run is stopped meanwhile."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if event.wait(max(left, 0)):
                return True
            self.check()
            if deadline is not None and time.monotonic() >= deadline:
                return False

    # Reports

    def propose(self, state: Dict[str, Any], force: bool = False, retry_seconds: Optional[float] = None) -> Answer:
        """Reports a state of this run. Raises LeaseLost when another process may own it."""
        state["state_details"]["flow_run_id"] = self.id
        answer = self.client.set_flow_run_state(self.id, state, self.lease, force, self.state_id, retry_seconds)
        if answer.status == "ABORT" and answer.reason == LEASE_LOST:
            raise LeaseLost(answer.reason)
        if answer.state is not None:
            self.state_id = answer.state.get("id")
        return answer

    def begin(self) -> None:
        """Reports Running, waiting where the server says so. Raises RunAborted when it refuses."""
        if self.runner is None:
            self.runner = self.flow.make_task_runner()
        self.logger.info("Using task runner '%s'", type(self.runner).__name__)
        if self.parent is None:
            self.storage_block = self.client.default_storage_block()
        while True:
            answer = self.propose(state_body("RUNNING"))
            if answer.status == "WAIT":
                self.sleep(max(answer.delay_seconds, 0.05))
                continue
            if answer.status == "ABORT":
                raise RunAborted(f"Flow run {self.name!r} may not run: {answer.reason}")
            return

    def outcome(self, value: Any) -> State:
        """The final state that follows from what the flow function returned, all tasks awaited."""
        for future in self.futures:
            TaskFuture.wait(future)
        if value is None:
            reached = [futures.to_states(item) for item in self.outcomes]
            if reached:
                return states.aggregate(reached, reached)
            return State(states.COMPLETED, result=None)
        value = futures.to_states(value)
        found = states.as_states(value)
        if found is None:
            return State(states.COMPLETED, result=value)
        if isinstance(value, State) and value.state_details.get("task_run_id") is None and value.id is None:
            return value  # made by the flow itself
        return states.aggregate(found, value)

    def finish(self, state: State) -> State:
        """Reports the final state; the state that the server then has."""
        value = state._value
        document, given = state.data, value is not states._NOT_GIVEN
        if given:
            document = store(value, self, self.logger)
        if self.parent is None:
            # Lines before the end of the run should be there for whoever watches until its end.
            self.shipper.flush(LOG_FLUSH_SECONDS)
        answer = self.propose(state_body(state.type, state.name, state.message, document))
        if answer.state is None:
            stored = self.client.read_flow_run(self.id)["state"]
            final = State.from_api(stored)
            self.logger.warning("The flow ended as %s, but the run already is %s: %s", state, final, answer.reason, to_server=False)
        else:
            same = answer.status == "ACCEPT" and given
            final = State.from_api(answer.state, value if same else states._NOT_GIVEN)
        self.logger.log(logs.INFO if final.is_completed() else logs.ERROR, "Finished in state %s", final, to_server=False)
        return final

    def failed(self, error: Exception) -> State:
        """The state for an exception of the flow function, which is logged, once the tasks it left behind ended."""
        self.logger.error("Encountered exception during execution:", exc_info=error)
        for future in self.futures:
            try:
                TaskFuture.wait(future)
            except Exception:
                pass  # it was logged; what the flow raised counts
        return State(states.FAILED, message="Flow run encountered an exception.", result=error)

    def last_words(self, error: BaseException) -> Optional[State]:
        """Reports a run that was stopped from outside; None when it must or can not be."""
        if isinstance(error, LeaseLost):
            self.logger.error("Stopped: %s Another process may own this flow run; nothing more is reported.", error, to_server=False, always_show=True)
            return None
        cancelled = isinstance(error, FlowCancelled)
        try:
            if isinstance(error, Terminated):
                stored = self.client._get(f"/flow_runs/{self.id}", LAST_WORDS_SECONDS)["state"]
                if stored["type"] in states.FINAL_TYPES:
                    return State.from_api(stored)
                cancelled = stored["name"] == "Cancelling"
            if cancelled:
                kind, name, message = states.CANCELLED, "Cancelled", "Flow run was cancelled."
            elif isinstance(error, FlowTimedOut):
                kind, name, message = states.FAILED, "TimedOut", str(error)
            elif isinstance(error, Terminated):
                kind, name, message = states.FAILED, "Crashed", f"Flow run process was terminated by {error.signal_name}."
            elif isinstance(error, KeyboardInterrupt):
                kind, name, message = states.FAILED, "Crashed", "Flow run process was interrupted (SIGINT)."
            else:
                text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                kind, name, message = states.FAILED, "Crashed", f"Flow run process ended: {text}"
            if name == "Crashed":
                self.logger.error("Crash detected! %s", message)
            self._end_tasks(kind, name, message)
            if self.parent is None:
                self.shipper.flush(1.0)
            answer = self.propose(state_body(kind, name, message), retry_seconds=LAST_WORDS_SECONDS)
            stored = answer.state or self.client._get(f"/flow_runs/{self.id}", LAST_WORDS_SECONDS)["state"]
        except (ApiError, ServerUnavailable, OSError) as problem:
            self.logger.error("The end of the run could not be reported: %s", problem, to_server=False, always_show=True)
            return None
        except LeaseLost:
            return None
        final = State.from_api(stored)
        self.logger.error("Finished in state %s", final, to_server=False)
        return final

    def _end_tasks(self, kind: str, name: str, message: str) -> None:
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        for future in list(self.futures):
            left = deadline - time.monotonic()
            if future.is_done() or left <= 0:
                continue
            run = future.task_run
            try:
                self.client.set_task_run_state(run.id, state_body(kind, name, message, task_run_id=run.id), self.lease, False, run.state_id, left)
            except (ApiError, ServerUnavailable, OSError):
                return  # the run's own last words come first

    # Coroutines of tasks

    def coroutine_loop(self) -> Any:
        """The loop for coroutines: that of an async flow, else one in a thread of its own."""
        with self._stopped:
            if self.loop is None:
                import asyncio

                self.loop = asyncio.new_event_loop()
                threading.Thread(target=self.loop.run_forever, name="sluice-loop", daemon=True).start()
            return self.loop


class TaskRun:
    """One task run that this process executes."""

    is_task = True

    def __init__(self, task: Task, flow_run: FlowRun, body: Dict[str, Any]) -> None:
        self.task = task
        self.flow_run = flow_run
        self.id: str = body["id"]
        self.name: str = body["name"]
        self.body = body
        self.state_id: Optional[str] = (body.get("state") or {}).get("id")
        self.logger = logs.RunLogger("sluice.task_runs", f"Task run {self.name!r}", flow_run.shipper, flow_run.id, self.id)

    def propose(self, state: Dict[str, Any]) -> Answer:
        """Reports a state of this run, as FlowRun.propose."""
        state["state_details"]["task_run_id"] = self.id
        answer = self.flow_run.client.set_task_run_state(self.id, state, self.flow_run.lease, False, self.state_id)
        if answer.status == "ABORT" and answer.reason == LEASE_LOST:
            error = LeaseLost(answer.reason)
            self.flow_run.stop(error)
            raise error
        if answer.state is not None:
            self.state_id = answer.state.get("id")
        return answer

    def run(self, arguments: Mapping[str, Any], wait_for: Iterable[Any]) -> State:
        """Takes the run from Pending to its final state."""
        try:
            list(map(futures.resolve, wait_for))
            ready = {name: futures.resolve(value) for name, value in arguments.items()}
        except UpstreamNotCompleted as error:
            answer = self.propose(state_body("PENDING", "NotReady", str(error)))
            return self._finished(self._stored(answer))
        key, expiration = self._cache_key(ready), None
        while True:
            answer = self.propose(state_body("RUNNING", cache_key=key))
            if answer.status == "WAIT":
                self.flow_run.sleep(max(answer.delay_seconds, 0.05))
                continue
            if answer.status == "ABORT":
                stored = State.from_api(self._stored(answer))
                if stored.is_final():
                    return self._finished_state(stored)
                raise RunAborted(f"Task run {self.name!r} may not run: {answer.reason}")
            if answer.state is not None and answer.state["type"] != "RUNNING":
                if answer.state["type"] in states.FINAL_TYPES:
                    return self._finished(answer.state)  # from the cache
                self._await_schedule(answer.state)
                continue
            state, value = self._attempt(ready)
            document = store(value, self.flow_run, self.logger)
            details: Dict[str, Any] = {}
            if key is not None and state.type == states.COMPLETED and document is not None:
                details["cache_key"] = key
                if self.task.cache_expiration is not None:
                    expiration = timestamps.to_text(timestamps.now() + self.task.cache_expiration)
                    details["cache_expiration"] = expiration
            answer = self.propose(state_body(state.type, state.name, state.message, document, **details))
            if answer.state is None:
                return self._finished(self._stored(answer))
            if answer.state["type"] in states.FINAL_TYPES:
                return self._finished_state(State.from_api(answer.state, value))
            self.logger.info(
                "Received non-final state %r when proposing final state %r and will attempt to run again...",
                answer.state["name"],
                state.name,
                to_server=False,
            )
            self._await_schedule(answer.state)

    def _await_schedule(self, stored: Dict[str, Any]) -> None:
        due = (stored.get("state_details") or {}).get("scheduled_time")
        if due:
            self.flow_run.sleep(max(0.0, (timestamps.from_text(due) - timestamps.now()).total_seconds()))

    def _stored(self, answer: Answer) -> Dict[str, Any]:
        if answer.state is not None:
            return answer.state
        state: Dict[str, Any] = self.flow_run.client.read_task_run(self.id)["state"]
        return state

    def _finished(self, stored: Dict[str, Any]) -> State:
        return self._finished_state(State.from_api(stored))

    def _finished_state(self, state: State) -> State:
        level = logs.INFO if state.is_completed() else logs.ERROR
        self.logger.log(level, "Finished in state %s", state, to_server=False)
        return state

    def _cache_key(self, ready: Mapping[str, Any]) -> Optional[str]:
        if self.task.cache_key_fn is None:
            return None
        key = self.task.cache_key_fn(CacheContext(self), dict(ready))
        return None if key is None else str(key)

    def _attempt(self, ready: Mapping[str, Any]) -> Tuple[State, Any]:
        args, kwargs = parameters.call_arguments(self.task.fn, ready)
        try:
            with context.entered(self):
                value = self.task.fn(*args, **kwargs)
                if self.task.is_async:
                    import asyncio

                    value = asyncio.run_coroutine_threadsafe(value, self.flow_run.coroutine_loop()).result()
        except RunStopped:
            raise
        except Exception as error:
            self.logger.error("Encountered exception during execution:", exc_info=error)
            return State(states.FAILED, message="Task run encountered an exception."), error
        except BaseException as error:
            if interrupts.in_main_thread():
                raise  # the sequential runner executes in the flow's own thread: the flow reports
            message = f"Task run ended: {type(error).__name__}"
            self.logger.error("Crash detected! %s", message)
            return State(states.FAILED, "Crashed", message), RuntimeError(message)
        if isinstance(value, State) and value.id is None:  # made by the task itself
            inner = None if value._value is states._NOT_GIVEN else value._value
            return State(value.type, value.name, value.message), inner
        return State(states.COMPLETED), value


class CacheContext:
    """What a `cache_key_fn` learns about the run."""

    def __init__(self, run: TaskRun) -> None:
        self.task = run.task
        self.task_run = run
        self.task_run_id = run.id
        self.flow_run_id = run.flow_run.id


def store(value: Any, run: FlowRun, logger: logs.RunLogger) -> Optional[Dict[str, str]]:
    """Stores a result; None when it cannot be: then it is known to this process only."""
    try:
        return results.store(value, run.client, run.storage_block)
    except (ServerUnavailable, ApiError, OSError):
        raise
    except Exception as error:
        if isinstance(value, BaseException):
            # What the exception said matters more than its class.
            return results.store(RuntimeError(f"{type(value).__qualname__}: {value}"), run.client, run.storage_block)
        logger.warning("The result cannot be stored and is available to this process only: %s: %s", type(error).__name__, error)
        return None


# Tasks


def call_task(task: Task, args: Tuple[Any, ...], kwargs: Mapping[str, Any], wait_for: Optional[Iterable[Any]]) -> Any:
    """Submits a task run of the flow run the caller is in; its future, or an awaitable of it in async code."""
    run = context.current()
    if run is None:
        raise RuntimeError("Tasks cannot be called outside of a flow. To call the function itself use `.fn()`.")
    if run.is_task:
        raise RuntimeError("Tasks cannot be called from within tasks. To call the function itself use `.fn()`.")
    if task.is_async and run.flow.is_async:
        import asyncio

        async def submitted() -> TaskFuture:
            inside = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(
                None, lambda: inside.run(submit_task, run, task, args, kwargs, wait_for, AsyncTaskFuture)
            )

        return submitted()
    return submit_task(run, task, args, kwargs, wait_for, TaskFuture)


def submit_task(
    flow_run: FlowRun, task: Task, args: Tuple[Any, ...], kwargs: Mapping[str, Any], wait_for: Optional[Iterable[Any]], kind: Any
) -> TaskFuture:
    """Creates a task run and hands it to the task runner."""
    flow_run.check()
    bound = parameters.bind(task.fn, args, kwargs)
    waiting = list(wait_for) if wait_for is not None else []
    inputs = futures.inputs({**bound, "wait_for": waiting} if waiting else bound)
    key = task.next_dynamic_key()
    name = f"{task.name}-{task.task_key[:8]}-{key}"
    body = flow_run.client.create_task_run(
        flow_run.id,
        name,
        task.task_key,
        key,
        task.retries,
        task.retry_delay_seconds,
        sorted(task.tags | set(context.current_tags())),
        inputs,
        flow_run.lease,
    )
    run = TaskRun(task, flow_run, body)
    flow_run.logger.info("Created task run %r for task %r", run.name, task.name)
    future: TaskFuture = kind(run)
    flow_run.futures.append(future)
    flow_run.outcomes.append(future)
    inside = contextvars.copy_context()

    def work() -> None:
        try:
            future.settle(inside.run(run.run, bound, waiting))
        except RunStopped as error:
            future.settle(None, error)
            if interrupts.in_main_thread():
                raise
        except Exception as error:
            # Not the task's code, which _attempt guards: the server refused or cannot be reached.
            run.logger.error("Crash detected! %s: %s", type(error).__name__, error, to_server=False, always_show=True)
            future.settle(None, error)

    flow_run.runner.submit(work)
    return future


# Flows


def call_flow(flow: Flow, args: Tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Runs a flow that was called: its final state, or for an async flow an awaitable of it."""
    parent = context.current()
    if parent is not None and parent.is_task:
        raise RuntimeError("Flows cannot be called from within tasks. Call the flow from the parent flow instead.")
    bound = parameters.bind(flow.fn, args, kwargs)
    if flow.is_async:
        return _call_async(flow, bound, parent)
    run = create(flow, bound, parent)
    return run if isinstance(run, State) else call(run)


def create(flow: Flow, bound: Dict[str, Any], parent: Optional[FlowRun] = None, tags: Optional[List[str]] = None) -> Any:
    """Creates the flow run of a call: the FlowRun, or its final State when its parameters are invalid."""
    dummy: Optional[Dict[str, Any]] = None
    if parent is not None:
        parent.check()
        inputs = futures.inputs(bound)
        try:
            bound = {name: futures.resolve(value) for name, value in bound.items()}
        except UpstreamNotCompleted as error:
            raise ParameterError(f"flow {flow.name!r} cannot start: {error}") from None
        client = parent.client
        dummy = client.create_task_run(
            parent.id,
            flow.name,
            names.fingerprint(f"{flow.name}{flow.fn.__module__}.{flow.fn.__qualname__}".encode()),
            names.uuid4(),
            0,
            0.0,
            sorted(tags or context.current_tags()),
            inputs,
            parent.lease,
        )
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
        initial = state_body("FAILED", message="Flow run received invalid parameters.", data=_exception_document(problem))
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
        return refused(run, problem, State.from_api(body["state"], problem))
    run.lease = keeper(client).take(run.id, run.stop)
    return run


def refused(run: FlowRun, problem: Exception, state: State) -> State:
    """Says that a run got invalid parameters; its final state."""
    run.logger.error("Flow run received invalid parameters and is marked as failed: %s", problem)
    run.logger.error("Finished in state %s", state, to_server=False)
    if run.parent is not None:
        run.parent.outcomes.append(state)
    return state


def _exception_document(error: BaseException) -> Dict[str, str]:
    try:
        return results.encode(error)
    except Exception:
        return results.encode(RuntimeError(f"{type(error).__qualname__}: {error}"))


_keepers_lock = threading.Lock()  # guards _keepers
_keepers: Dict[int, LeaseKeeper] = {}


def keeper(client: Client) -> LeaseKeeper:
    """The lease keeper of this process for a client."""
    with _keepers_lock:
        return _keepers.setdefault(id(client), LeaseKeeper(client))


class _Timer:
    """Stops a run after its flow's `timeout_seconds`."""

    def __init__(self, run: FlowRun) -> None:
        self._timer: Optional[threading.Timer] = None
        seconds = run.flow.timeout_seconds
        if seconds:
            error = FlowTimedOut(f"Flow run exceeded timeout of {seconds} seconds")
            self._timer = threading.Timer(seconds, run.stop, (error,))
            self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def execute(run: FlowRun) -> State:
    """Takes a created flow run from Pending to its final state. Raises RunStopped when it was stopped from outside."""

    def body() -> State:
        run.begin()
        try:
            with context.entered(run), _Timer(run):
                args, kwargs = parameters.call_arguments(run.flow.fn, run.parameters)
                value = run.flow.fn(*args, **kwargs)
                run.check()
                if run.flow.is_async:
                    raise TypeError("an async flow needs an event loop")
                state = run.outcome(value)
        except Exception as error:
            if isinstance(error, (ServerUnavailable, ApiError)) and _is_reporting_failure(run, error):
                raise
            state = run.failed(error)
        with interrupts.deferred():
            return run.finish(state)

    with interrupts.handled(run):
        return _ended(run, body)


def call(run: FlowRun) -> State:
    """Executes the run of a flow call in a script. A process told to end does so, with the status of that signal."""
    try:
        return execute(run)
    except Terminated:
        raise _exit(run) from None


def _exit(run: FlowRun) -> BaseException:
    """What ends a script whose outermost flow was terminated; a subflow's termination goes on to its parent."""
    if run.parent is not None:
        return run.stop_reason() or Terminated("SIGTERM")
    run.shipper.flush(LAST_WORDS_SECONDS)
    return SystemExit(interrupts.TERMINATED_STATUS)


def _is_reporting_failure(run: FlowRun, error: Exception) -> bool:
    """Whether the exception is what kept one of the run's own tasks from being reported."""
    return any(future._error is error for future in run.futures)


def _ended(run: FlowRun, body: Callable[[], State]) -> State:
    try:
        final = body()
    except BaseException as error:
        final_or_none = _stopped(run, error)
        if final_or_none is None:
            raise
        final = final_or_none
    finally:
        keeper(run.client).give_up(run.id)
    if run.parent is not None:
        run.parent.outcomes.append(final)
    return final


def _stopped(run: FlowRun, error: BaseException) -> Optional[State]:
    """Reports a run that did not end by itself; its state if the caller may go on, None if the error goes up."""
    with interrupts.deferred():
        run.stop(error)  # for its tasks
        if isinstance(error, RunAborted):
            run.logger.error("%s", error)
            return None
        own = run._stop is error
        final = run.last_words(error)
        if isinstance(error, FlowTimedOut) and own and (run.parent is None or run.parent.stop_reason() is None):
            return final
        # A cancelled subflow ends alone; the parent goes on with its state.
        if isinstance(error, FlowCancelled) and (run.parent is None or run.parent.stop_reason() is None):
            return final
        return None


async def _call_async(flow: Flow, bound: Dict[str, Any], parent: Optional[FlowRun]) -> State:
    import asyncio

    run = await asyncio.to_thread(create, flow, bound, parent)
    if isinstance(run, State):
        return run
    try:
        return await execute_async(run)
    except Terminated:
        raise _exit(run) from None


async def execute_async(run: FlowRun) -> State:
    """As `execute`, for an async flow: its coroutine runs on the caller's loop, reports in threads."""
    import asyncio

    run.loop = asyncio.get_running_loop()

    async def body() -> State:
        await asyncio.to_thread(run.begin)
        try:
            with context.entered(run), _Timer(run):
                args, kwargs = parameters.call_arguments(run.flow.fn, run.parameters)
                pending = asyncio.ensure_future(run.flow.fn(*args, **kwargs))
                while not pending.done():
                    # asyncio.wait does not cancel: a stop is noticed within a quarter of a second.
                    await asyncio.wait([pending], timeout=0.25)
                    if run.stop_reason() is not None and not pending.done():
                        pending.cancel()
                        await asyncio.wait([pending], timeout=1)
                run.check()
                value = pending.result()
            state = await asyncio.to_thread(run.outcome, value)
        except Exception as error:
            if isinstance(error, (ServerUnavailable, ApiError)) and _is_reporting_failure(run, error):
                raise
            state = await asyncio.to_thread(run.failed, error)
        return await asyncio.to_thread(run.finish, state)

    with interrupts.handled(run):
        try:
            final = await body()
        except BaseException as error:
            final_or_none = await asyncio.to_thread(_stopped, run, error)
            if final_or_none is None:
                raise
            final = final_or_none
        finally:
            keeper(run.client).give_up(run.id)
    if run.parent is not None:
        run.parent.outcomes.append(final)
    return final
