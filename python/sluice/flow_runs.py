"""One flow run: its identity, what stops it, what is reported of it, its final state."""
from __future__ import annotations

import threading
import time

from sluice import execution, futures, interrupts, logs, states
from sluice.client import state_body
from sluice.creation import Creation
from sluice.errors import ApiError, FlowCancelled, LeaseLost, RunAborted, RunStopped, ServerUnavailable, Terminated
from sluice.futures import TaskFuture
from sluice.leases import LeaseKeeper
from sluice.order import Order
from sluice.states import State
from sluice.task_runs import LEASE_LOST, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional

    from sluice.client import Answer, Client
    from sluice.flows import Flow

LOG_FLUSH_SECONDS = 2.0  # how long the final state waits for the lines before it
LAST_WORDS_SECONDS = 5.0  # how long a process that must end tries to say so


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
        self.creation = Creation()
        self.order = Order()
        self.loop: Any = None  # the event loop that coroutines of tasks run on, once one is needed
        self._own_loop: Any = None  # that, where it is not the flow's
        self._turn: Any = None
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
            document = store(states.to_store(value), self, self.logger)
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
                if text == "CancelledError":
                    text = "its coroutine was cancelled, by SIGINT or by the program itself"
                kind, name, message = states.FAILED, "Crashed", f"Flow run process ended: {text}"
            if name == "Crashed":
                self.logger.error("Crash detected! %s", message)
            self._end_tasks(kind, name, message)
            if self.parent is None:
                self.shipper.flush(1.0)
            answer = self.propose(state_body(kind, name, message), force=name == "Crashed", retry_seconds=LAST_WORDS_SECONDS)
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
            run = future.task_run
            if future.is_done() or left <= 0 or not run.exists():
                continue
            try:
                # Forced: a task that has retries left is not to await one.
                self.client.set_task_run_state(run.id, state_body(kind, name, message, task_run_id=run.id), self.lease, True, run.state_id, left)
            except (ApiError, ServerUnavailable, OSError):
                return  # the run's own last words come first

    # What its tasks run on

    def coroutine_loop(self) -> Any:
        """The loop for coroutines: that of an async flow, else one in a thread of its own."""
        with self._stopped:
            if self.loop is None:
                import asyncio

                self.loop = self._own_loop = asyncio.new_event_loop()
                threading.Thread(target=self.loop.run_forever, name="sluice-loop", daemon=True).start()
            return self.loop

    def turn(self) -> Any:
        """An async lock, for a task runner that runs one task at a time on behalf of an async flow."""
        if self._turn is None:
            import asyncio

            self._turn = asyncio.Lock()
        return self._turn

    def close(self) -> None:
        """Lets go of threads, processes and futures, once the run has ended or can report nothing more."""
        if self._stop is not None:
            for future in self.futures:
                execution.abandon(future.task_run.thread)
        if self.runner is not None:
            self.runner.close()
        loop, self._own_loop = self._own_loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        self.futures, self.outcomes = [], []


_keepers_lock = threading.Lock()  # guards _keepers
_keepers: Dict[int, LeaseKeeper] = {}


def keeper(client: Client) -> LeaseKeeper:
    """The lease keeper of this process for a client."""
    with _keepers_lock:
        return _keepers.setdefault(id(client), LeaseKeeper(client))
