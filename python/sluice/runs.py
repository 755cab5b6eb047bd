"""Execution of flow runs: from Pending to a final state, whatever ends them."""
from __future__ import annotations

import threading

from sluice import context, execution, futures, interrupts, parameters
from sluice.errors import ApiError, FlowCancelled, RunAborted, ServerUnavailable, Terminated
from sluice.flow_runs import LAST_WORDS_SECONDS, FlowRun, FlowTimedOut, keeper
from sluice.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from sluice.flows import Flow


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


class _threads_heard:
    """While an outermost flow runs, what ends a thread that the flow started is in its log. The run goes on, as the
    program does: nobody but the program knows what the thread was for."""

    def __init__(self, run: FlowRun) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._before = threading.excepthook
        if self._run.parent is None:
            threading.excepthook = self._tell

    def __exit__(self, *_: object) -> None:
        if threading.excepthook == self._tell:
            threading.excepthook = self._before

    def _tell(self, told: Any) -> None:
        if told.exc_type is execution.Abandoned:
            return
        name = told.thread.name if told.thread is not None else "?"
        self._run.logger.error("Exception in thread %r:", name, exc_info=told.exc_value)


def execute(run: FlowRun) -> State:
    """Takes a created flow run from Pending to its final state. Raises RunStopped when it was stopped from outside."""

    def body() -> State:
        run.begin()
        try:
            with context.entered(run), _Timer(run), _threads_heard(run):
                args, kwargs = parameters.call_arguments(run.flow.fn, run.parameters)
                value = run.flow.fn(*args, **kwargs)
                run.check()
                state = run.outcome(value)
        except Exception as error:
            if isinstance(error, (ServerUnavailable, ApiError)) and _is_reporting_failure(run, error):
                raise
            state = run.failed(error)
        with interrupts.deferred():
            return run.finish(state)

    with interrupts.handled(run):
        try:
            final = body()
        except BaseException as error:
            final_or_none = _stopped(run, error)
            if final_or_none is None:
                raise
            final = final_or_none
        finally:
            _leave(run)
    if run.parent is not None:
        run.parent.outcomes.append(final)
    return final


def call(run: FlowRun) -> State:
    """Executes the run of a flow call in a script. A process told to end does so, with the status of that signal."""
    try:
        return execute(run)
    except Terminated:
        raise _exit(run) from None


async def call_async(flow: Flow, bound: Dict[str, Any], parent: Optional[FlowRun]) -> State:
    """As `call`, with the creation of the run."""
    import asyncio

    from sluice import calls

    run = await asyncio.to_thread(calls.create, flow, bound, parent)
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
            with context.entered(run), _Timer(run), _threads_heard(run):
                args, kwargs = parameters.call_arguments(run.flow.fn, run.parameters)
                pending = asyncio.ensure_future(execution.guarded(run.flow.fn(*args, **kwargs)))
                await _ended(run, pending)
                value = execution.unwrapped(pending.result())
                # Here and not in a thread: the tasks may need what threads the loop has.
                await futures.all_ended(run.futures)
            state = await asyncio.to_thread(run.outcome, value)
        except Exception as error:
            if isinstance(error, (ServerUnavailable, ApiError)) and _is_reporting_failure(run, error):
                raise
            await futures.all_ended(run.futures)
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
            _leave(run)
    if run.parent is not None:
        run.parent.outcomes.append(final)
    return final


async def _ended(run: FlowRun, pending: Any) -> None:
    """Waits for the flow's coroutine; cancels it when the run is stopped."""
    import asyncio

    while not pending.done():
        # asyncio.wait does not cancel: a stop is noticed within a quarter of a second.
        await asyncio.wait([pending], timeout=0.25)
        if run.stop_reason() is not None and not pending.done():
            pending.cancel()
            await asyncio.wait([pending], timeout=1)
    run.check()


def _exit(run: FlowRun) -> BaseException:
    """What ends a script whose outermost flow was terminated; a subflow's termination goes on to its parent."""
    if run.parent is not None:
        return run.stop_reason() or Terminated("SIGTERM")
    run.shipper.flush(LAST_WORDS_SECONDS)
    return SystemExit(interrupts.TERMINATED_STATUS)


def _is_reporting_failure(run: FlowRun, error: Exception) -> bool:
    """Whether the exception is what kept one of the run's own tasks from being reported."""
    return any(future._error is error for future in run.futures)


def _leave(run: FlowRun) -> None:
    """Lets go of what a run holds, once it has ended or can report nothing more."""
    keeper(run.client).give_up(run.id)
    run.close()


def _stopped(run: FlowRun, error: BaseException) -> Optional[State]:
    """Reports a run that did not end by itself; its state if the caller may go on, None if the error goes up."""
    with interrupts.deferred():
        if type(error).__name__ == "CancelledError":
            error = run.stop_reason() or error  # a coroutine that was cancelled because its run was stopped ends for that reason
        run.stop(error)  # for its tasks; it has no effect where the run was stopped before
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


