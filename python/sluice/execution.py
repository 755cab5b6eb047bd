"""Calling a task's function in this process: in a thread of the runner, on the flow's event loop, with or without a time limit."""
from __future__ import annotations

import contextvars
import threading

from sluice import context
from sluice.errors import RunStopped, TaskTimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Tuple

    from sluice.task_runs import TaskRun


class Logged(Exception):
    """A task's exception whose traceback is in the run's log already."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ProcessDied(Exception):
    """The process that executed a task ended in the middle of it."""


class Abandoned(RunStopped):
    """Raised in the middle of a task's function that nobody waits for any more."""


def here(run: TaskRun, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """Calls the function of a task and gives what it returns. Raises TaskTimedOut after the task's `timeout_seconds`."""
    seconds = run.task.timeout_seconds
    run.await_turn()
    with context.entered(run):
        if run.task.is_async:
            return _on_loop(run, run.task.fn(*args, **kwargs), seconds)
        if seconds is not None:
            return _limited(run, lambda: run.task.fn(*args, **kwargs), seconds)
        run.thread = threading.get_ident()
        run.begun()
        try:
            return run.task.fn(*args, **kwargs)
        finally:
            run.thread = None


def _on_loop(run: TaskRun, coroutine: Any, seconds: Any) -> Any:
    import asyncio

    future = asyncio.run_coroutine_threadsafe(guarded(coroutine), run.flow_run.coroutine_loop())
    run.begun()
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    try:
        if not run.flow_run.wait(done, seconds):
            raise timed_out(seconds)
    except BaseException:
        future.cancel()
        raise
    try:
        return unwrapped(future.result())
    except asyncio.CancelledError:
        raise RuntimeError("the task was cancelled in its event loop") from None


class _Exit:
    """What a coroutine raised that would end the event loop with everything on it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def guarded(coroutine: Any) -> Any:
    """Awaits a coroutine; SystemExit and KeyboardInterrupt are given as a value, for `unwrapped`."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        return _Exit(error)


def unwrapped(value: Any) -> Any:
    """The result of `guarded`; raises what it kept from being raised."""
    if isinstance(value, _Exit):
        raise value.error
    return value


def _limited(run: TaskRun, call: Callable[[], Any], seconds: float) -> Any:
    """A thread cannot be ended: one that takes too long is asked to, and left behind."""
    done, outcome = threading.Event(), []  # type: Tuple[threading.Event, List[Tuple[bool, Any]]]
    inside = contextvars.copy_context()

    def work() -> None:
        try:
            try:
                outcome.append((True, inside.run(call)))
            except BaseException as error:
                outcome.append((False, error))
            done.set()
        except Abandoned:
            done.set()

    thread = threading.Thread(target=work, name="sluice-limited", daemon=True)
    thread.start()
    run.begun()
    try:
        ended = run.flow_run.wait(done, seconds)
    except BaseException:
        abandon(thread.ident)
        raise
    if not ended:
        abandon(thread.ident)
        raise timed_out(seconds)
    ok, value = outcome[0]
    if ok:
        return value
    raise value


def spawning() -> bool:
    """Whether this is a worker process that executes the script's top level again, to find its tasks."""
    import sys

    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and bool(getattr(processes.current_process(), "_inheriting", False))


def timed_out(seconds: float) -> TaskTimedOut:
    """What is raised in place of a task's result after its `timeout_seconds`."""
    return TaskTimedOut(f"Task run exceeded timeout of {float(seconds)} seconds")


def abandon(thread: Any) -> None:
    """Has a thread raise Abandoned at its next Python instruction; one that waits inside of C code raises after that."""
    if thread is None or thread == threading.main_thread().ident:
        return
    try:
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Abandoned))
    except (ImportError, AttributeError):
        pass  # an interpreter without: the thread ends with the process


__all__ = ["Abandoned", "Logged", "ProcessDied", "abandon", "guarded", "here", "spawning", "timed_out", "unwrapped"]
