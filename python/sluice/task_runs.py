"""One task run: from its creation to its final state, attempts and retries in between."""
from __future__ import annotations

from sluice import futures, interrupts, logs, parameters, results, states, timestamps
from sluice.client import state_body
from sluice.errors import ApiError, LeaseLost, PermanentFailure, RunAborted, RunStopped, ServerUnavailable, TaskTimedOut
from sluice.execution import Logged, ProcessDied
from sluice.futures import UpstreamNotCompleted
from sluice.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

    from sluice.client import Answer
    from sluice.flow_runs import FlowRun
    from sluice.order import Place
    from sluice.tasks import Task

LEASE_LOST = "The lease on this flow run was lost."


class TaskRun:
    """One task run that this process executes."""

    __slots__ = ("task", "flow_run", "name", "dynamic_key", "tags", "attempt", "state_id", "thread", "_id", "_earlier", "_error", "_logger", "_place")

    is_task = True

    def __init__(self, task: Task, flow_run: FlowRun, dynamic_key: str, tags: List[str]) -> None:
        self.task = task
        self.flow_run = flow_run
        self.name = f"{task.name}-{task.task_key[:8]}-{dynamic_key}"
        self.dynamic_key = dynamic_key
        self.tags = tags
        self.attempt = 0  # 1 while the task's function is called for the first time
        self.state_id: Optional[str] = None
        self.thread: Optional[int] = None  # where the task's function is being called, if in a thread of this process
        self._id: Optional[str] = None
        self._earlier: Optional[Dict[str, Any]] = None  # the final state it had when it was created: that of an earlier execution
        self._error: Optional[BaseException] = None  # why it could not be created
        self._logger: Optional[logs.RunLogger] = None
        self._place: Optional[Place] = None  # among the runs that wait for nothing but the server

    # Creation

    def create(self, inputs: Mapping[str, List[Any]]) -> None:
        """Creates the run at the server; `known` is true afterwards. `inputs`: futures and ids that arguments depend on."""
        try:
            self.flow_run.check()
            body = self.flow_run.client.create_task_run(
                self.flow_run.id,
                self.name,
                self.task.task_key,
                self.dynamic_key,
                self.task.retries,
                self.task.server_delay_seconds,
                self.tags,
                futures.recorded(inputs),
                self.flow_run.lease,
            )
        except BaseException as error:  # handed to who asks for the run
            self._error = error
            return
        state = body.get("state") or {}
        self.state_id = state.get("id")
        if state.get("type") in states.FINAL_TYPES:
            self._earlier = state
        self.name = body["name"]
        self._id = body["id"]

    def known(self) -> bool:
        """Whether the server has answered to the creation, one way or the other."""
        return self._id is not None or self._error is not None

    def exists(self) -> bool:
        """Whether the server has the run, as far as this process knows."""
        return self._id is not None

    @property
    def id(self) -> str:
        """The run's id; waits for the server to give it. Raises what kept the run from being created."""
        if self._id is None:
            if self._error is None:
                self.flow_run.creation.wait_for(self.known)
            if self._id is None:
                assert self._error is not None
                raise self._error
        return self._id

    @property
    def flow_run_id(self) -> str:
        """Id of the flow run it belongs to."""
        return self.flow_run.id

    @property
    def task_key(self) -> str:
        """Identifies the task among all tasks."""
        return self.task.task_key

    @property
    def logger(self) -> logs.RunLogger:
        """The logger of this run."""
        if self._logger is None:
            self._logger = logs.RunLogger("sluice.task_runs", f"Task run {self.name!r}", self.flow_run.shipper, self.flow_run.id, self.id)
        return self._logger

    # The order of the calls

    def line_up(self) -> None:
        """Takes a place in the order in which tasks begin."""
        self._place = self.flow_run.order.join()

    def await_turn(self) -> None:
        """Waits until the task runs before this one have begun, or need not be waited for."""
        if self._place is not None:
            self.flow_run.order.wait(self._place, self.flow_run.check)

    def begun(self) -> None:
        """Lets the next task run begin. Has no effect when it is called again."""
        place, self._place = self._place, None
        if place is not None:
            self.flow_run.order.leave(place)

    # Reports

    def propose(self, state: Dict[str, Any], force: bool = False) -> Answer:
        """Reports a state of this run, as FlowRun.propose."""
        state["state_details"]["task_run_id"] = self.id
        answer = self.flow_run.client.set_task_run_state(self.id, state, self.flow_run.lease, force, self.state_id)
        if answer.status == "ABORT" and answer.reason == LEASE_LOST:
            error = LeaseLost(answer.reason)
            self.flow_run.stop(error)
            raise error
        if answer.state is not None:
            self.state_id = answer.state.get("id")
        return answer

    def run(self, arguments: Mapping[str, Any], wait_for: Iterable[Any]) -> State:
        """Takes the run from Pending to its final state; that, or Pending named NotReady."""
        final = self._run(arguments, wait_for)
        self.logger.log(logs.INFO if final.is_completed() else logs.ERROR, "Finished in state %s", final, to_server=False)
        self._logger = None  # thousands of runs that have ended may be kept
        return final

    def _run(self, arguments: Mapping[str, Any], wait_for: Iterable[Any]) -> State:
        if self._earlier is not None:
            return State.from_api(self._earlier)
        try:
            list(map(futures.resolve, wait_for))
            ready = {name: futures.resolve(value) for name, value in arguments.items()}
        except UpstreamNotCompleted as error:
            answer = self.propose(state_body("PENDING", "NotReady", str(error)))
            return State.from_api(self._stored(answer))
        try:
            key = self._cache_key(ready)
        except Exception as error:
            return self._fail_early("The task's cache_key_fn raised an exception.", error)
        while True:
            with self.flow_run.runner.slot(self):
                stored = self._begin(key)
                if stored is not None:
                    return State.from_api(stored)  # from the cache
                self.attempt += 1
                state, value = self._attempt(ready)
            final = self._report(state, value, key)
            if final is not None:
                return final

    def _begin(self, key: Optional[str]) -> Optional[Dict[str, Any]]:
        """Reports Running, waiting where the server says so. A final state is answered where there already is one."""
        while True:
            answer = self.propose(state_body("RUNNING", cache_key=key))
            if answer.status == "WAIT":
                self.begun()
                self.flow_run.sleep(max(answer.delay_seconds, 0.05))
                continue
            if answer.status == "ABORT":
                stored = self._stored(answer)
                if stored["type"] in states.FINAL_TYPES:
                    return stored
                raise RunAborted(f"Task run {self.name!r} may not run: {answer.reason}")
            if answer.state is None or answer.state["type"] == "RUNNING":
                return None
            if answer.state["type"] in states.FINAL_TYPES:
                return answer.state
            self.begun()
            self._await_schedule(answer.state)

    def _report(self, state: State, value: Any, key: Optional[str]) -> Optional[State]:
        """Reports how an attempt ended; the final state, or None when there is to be another attempt."""
        document = store(value, self.flow_run, self.logger)
        details: Dict[str, Any] = {}
        if key is not None and state.type == states.COMPLETED and document is not None:
            details["cache_key"] = key
            if self.task.cache_expiration is not None:
                details["cache_expiration"] = timestamps.to_text(timestamps.now() + self.task.cache_expiration)
        permanent = state.type == states.FAILED and isinstance(value, PermanentFailure)
        answer = self.propose(state_body(state.type, state.name, state.message, document, **details), force=permanent)
        if answer.state is None:
            return State.from_api(self._stored(answer))
        if answer.state["type"] in states.FINAL_TYPES:
            return State.from_api(answer.state, value)
        self.logger.info(
            "Received non-final state %r when proposing final state %r and will attempt to run again...",
            answer.state["name"],
            state.name,
            to_server=False,
        )
        self._await_schedule(answer.state)
        # Delays that are not one number are ours: the server knows one delay for all attempts.
        self.flow_run.sleep(self.task.own_delay_seconds(self.attempt))
        return None

    def _await_schedule(self, stored: Dict[str, Any]) -> None:
        due = (stored.get("state_details") or {}).get("scheduled_time")
        if due:
            self.flow_run.sleep(max(0.0, (timestamps.from_text(due) - timestamps.now()).total_seconds()))

    def _stored(self, answer: Answer) -> Dict[str, Any]:
        if answer.state is not None:
            return answer.state
        state: Dict[str, Any] = self.flow_run.client.read_task_run(self.id)["state"]
        return state

    def _cache_key(self, ready: Mapping[str, Any]) -> Optional[str]:
        if self.task.cache_key_fn is None:
            return None
        key = self.task.cache_key_fn(CacheContext(self), dict(ready))
        return None if key is None else str(key)

    def _fail_early(self, message: str, error: Exception) -> State:
        """Ends a run whose function cannot be called, whatever retries it has."""
        self.logger.error("%s", message, exc_info=error)
        answer = self.propose(state_body("FAILED", message=message, data=store(error, self.flow_run, self.logger)), force=True)
        return State.from_api(self._stored(answer), error)

    def _attempt(self, ready: Mapping[str, Any]) -> Tuple[State, Any]:
        """Calls the task's function: what became of it, and the result or exception."""
        args, kwargs = parameters.call_arguments(self.task.fn, ready)
        try:
            value = self.flow_run.runner.execute(self, args, kwargs)
        except RunStopped:
            raise
        except TaskTimedOut as error:
            self.logger.error("%s", error)
            return State(states.FAILED, "TimedOut", str(error)), error
        except ProcessDied as error:
            self.logger.error("Crash detected! %s", error)
            return State(states.FAILED, "Crashed", str(error)), error
        except Logged as logged:
            return State(states.FAILED, message="Task run encountered an exception."), logged.error
        except Exception as error:
            self.logger.error("Encountered exception during execution:", exc_info=error)
            return State(states.FAILED, message="Task run encountered an exception."), error
        except BaseException as error:
            if interrupts.in_main_thread():
                raise  # the sequential runner executes in the flow's own thread: the flow reports
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            message = f"Task run ended: {text}"
            self.logger.error("Crash detected! %s", message, exc_info=error)
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
        logger.warning("The result cannot be stored and is available to this process only: %s: %s", type(error).__name__, error)
        return None


__all__ = ["CacheContext", "TaskRun", "store"]
