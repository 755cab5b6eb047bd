"""Worker processes of ParallelTaskRunner, and the pool that hands task runs to them.

The parent keeps all dealings with the server; a worker only calls functions. Between them is a pipe each: the parent
sends one call at a time, the worker answers with log lines and then the outcome. A worker that dies takes its own task
with it and no other; the next task gets a new one.
"""
from __future__ import annotations

import os
import sys
import threading

from sluice import context, execution, logs, results
from sluice.errors import RunStopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from sluice.task_runs import TaskRun
    from sluice.tasks import Task

START_SECONDS = 120.0  # for a worker to import the flow's file


class NotImportable(Exception):
    """A function or value that another process cannot be given; the message says why."""


class _Worker:
    """One process and its pipe; used by one thread at a time."""

    def __init__(self) -> None:
        import multiprocessing

        spawning = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self._pipe, theirs = spawning.Pipe()
        loaded = sys.modules.get("<run_path>")
        self._process = spawning.Process(
            target=serve, args=(theirs, getattr(loaded, "__file__", None), logs.run_lines_on_console), name="sluice-worker", daemon=True
        )
        self._process.start()
        theirs.close()
        self.ready = False
        self._ending = threading.Lock()  # the end of a process can be awaited by one thread at a time

    def end(self) -> None:
        """Ends the process at once. Whoever uses the pipe reads its end there, and closes it: a number that is closed
        under a reader may be another file's by then."""
        self._process.kill()
        self._wait(None)

    def kill(self) -> None:
        self.end()
        self._pipe.close()

    def _wait(self, seconds: Optional[float]) -> None:
        with self._ending:
            self._process.join(seconds)

    def stop(self) -> None:
        """Lets the process end by itself: it does when nobody is at the other end."""
        self._pipe.close()

    def join(self) -> None:
        self._wait(5.0)
        if self._process.is_alive():
            self.end()

    def how_it_ended(self) -> str:
        """For people: `was killed by SIGKILL`, `ended with exit status 3`."""
        self._wait(5.0)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"ended with exit status {code}"
        import signal

        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}" + (" (perhaps for want of memory)" if name == "SIGKILL" else "")

    def send(self, message: bytes) -> None:
        """Raises OSError when the worker is gone."""
        self._pipe.send_bytes(message)

    def receive(self, run: TaskRun, seconds: Optional[float]) -> Optional[Tuple[str, Any]]:
        """The next message; None after `seconds`. Raises EOFError when the process has ended, and what stops the run."""
        import time

        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if self._pipe.poll(max(left, 0)):
                message: Tuple[str, Any] = self._pipe.recv()
                return message
            run.flow_run.check()
            if deadline is not None and time.monotonic() >= deadline:
                return None


class Pool:
    """The worker processes of one flow run, started when they are needed."""

    def __init__(self, limit: Optional[int] = None) -> None:
        self.limit = limit or os.cpu_count() or 1
        self._changed = threading.Condition()  # guards what follows
        self._free = self.limit
        self._idle: List[_Worker] = []
        self._all: List[_Worker] = []
        self._warned: set[str] = set()
        self._unusable = ""  # why no worker can be started, once that is known
        self._closed = False

    def slot(self, run: TaskRun) -> _Slot:
        """See TaskRunner.slot."""
        return _Slot(self, run)

    def acquire(self, run: TaskRun) -> None:
        """Waits until a further task may run."""
        with self._changed:
            while self._free == 0:
                self._changed.wait(0.5)  # a stop of the run does not notify
                run.flow_run.check()
            self._free -= 1

    def release(self) -> None:
        """Lets the next task run."""
        with self._changed:
            self._free += 1
            self._changed.notify()

    def close(self) -> None:
        """Ends the processes; those in the middle of a task are killed."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            busy, self._all = [worker for worker in self._all if worker not in idle], []
        for worker in idle:
            worker.stop()
        for worker in busy:
            worker.end()
        for worker in idle:
            worker.join()

    def execute(self, run: TaskRun, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        """Calls a task's function in a worker. Raises what it raised."""
        try:
            if self._unusable:
                raise NotImportable(self._unusable)
            message = _packed(run, args, kwargs)
            worker = self._worker(run)
            return self._call(worker, run, message)
        except NotImportable as reason:
            with self._changed:
                first = run.task.task_key not in self._warned
                self._warned.add(run.task.task_key)
            if first:
                run.logger.warning("Task %r runs in a thread and not in a worker process: %s", run.task.name, reason)
            return execution.here(run, args, kwargs)

    def _worker(self, run: TaskRun) -> _Worker:
        """An idle worker, or a new one that has loaded the flow."""
        with self._changed:
            if self._idle:
                return self._idle.pop()
        worker = _Worker()
        with self._changed:
            if self._closed:
                worker.kill()
                raise run.flow_run.stop_reason() or RuntimeError("the flow run has ended")
            self._all.append(worker)
        try:
            message = worker.receive(run, START_SECONDS)
        except (EOFError, OSError):
            self._forget(worker)
            with self._changed:
                self._unusable = (
                    f"a worker process {worker.how_it_ended()} when it imported the flow's file (its output says why; scripts "
                    'call their flow under `if __name__ == "__main__":`)'
                )
            raise NotImportable(self._unusable) from None
        except BaseException:
            self._forget(worker)
            raise
        if message is None:
            self._forget(worker)
            raise NotImportable(f"a worker process did not start within {START_SECONDS:.0f} s")
        return worker

    def _forget(self, worker: _Worker) -> None:
        with self._changed:
            if worker in self._all:
                self._all.remove(worker)
        worker.kill()

    def _call(self, worker: _Worker, run: TaskRun, message: bytes) -> Any:
        seconds = run.task.timeout_seconds
        try:
            worker.send(message)
            while True:
                answer = worker.receive(run, seconds)
                if answer is None or answer[0] != "line":
                    break
                run.flow_run.shipper.add(answer[1])
        except (EOFError, OSError):
            how = worker.how_it_ended()
            self._forget(worker)
            raise execution.ProcessDied(f"The process of the task run {how}.") from None
        except BaseException:
            self._forget(worker)  # in the middle of a task: it can only be killed
            raise
        if answer is None:
            self._forget(worker)
            raise execution.timed_out(float(seconds or 0))
        kind, content = answer
        with self._changed:
            if not self._closed:
                self._idle.append(worker)
        if kind == "value":
            return results.unpickle(content)
        if kind == "error":
            raise execution.Logged(results.unpickle(content))
        if kind == "exit":
            raise execution.ProcessDied(f"The task run ended its process: {content}")
        raise NotImportable(content)


class _Slot:
    def __init__(self, pool: Pool, run: TaskRun) -> None:
        self._pool, self._run = pool, run

    def __enter__(self) -> None:
        self._run.await_turn()
        try:
            self._pool.acquire(self._run)
        finally:
            self._run.begun()

    def __exit__(self, *_: object) -> None:
        self._pool.release()


def _packed(run: TaskRun, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> bytes:
    """A call as the worker gets it. Raises NotImportable."""
    place = reference(run.task)
    try:
        values = results.pickle(("arguments", args, kwargs))
    except Exception as error:
        raise NotImportable(f"its arguments cannot be pickled ({type(error).__name__}: {error})") from None
    described = {
        "task_run": (run.id, run.name), "flow_run": (run.flow_run.id, run.flow_run.name), "task": run.task.name,
        "is_async": run.task.is_async, "place": place,
    }  # fmt: skip
    import pickle

    return pickle.dumps((described, values))


def reference(task: Task) -> Tuple[str, str]:
    """Module and qualified name under which another process finds the task's function. Raises NotImportable."""
    module, name = task.fn.__module__, task.fn.__qualname__
    if "<lambda>" in name:
        raise NotImportable("it is a lambda, which has no name to import it by")
    if "<locals>" in name:
        raise NotImportable(f"{name} is defined inside of another function: move it to the top level of its file")
    main = sys.modules.get("__main__")
    if module == "__main__" and (getattr(main, "__file__", None) is None and getattr(main, "__spec__", None) is None):
        raise NotImportable("it is defined in no file")
    if _found(module, name) is not task.fn:
        raise NotImportable(f"{module}.{name} is something else than the task's function")
    return module, name


def _found(module: str, name: str) -> Any:
    """The function of that name; of a task its function."""
    import importlib

    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NotImportable(f"{module}.{name} cannot be imported: {error}") from None
    return getattr(found, "fn", found)


# In the worker


class _FlowRun:
    """What a worker knows of the flow run."""

    is_task = False

    def __init__(self, id: str, name: str) -> None:
        self.id, self.name = id, name


class _TaskRun:
    """What the task's function sees as its run: `context.current()` and `get_run_logger()` work as in a thread."""

    is_task = True

    def __init__(self, described: Dict[str, Any], pipe: _Sender) -> None:
        self.id, self.name = described["task_run"]
        self.flow_run = _FlowRun(*described["flow_run"])
        self.flow_run_id = self.flow_run.id
        self.logger = logs.RunLogger("sluice.task_runs", f"Task run {self.name!r}", pipe, self.flow_run.id, self.id)  # type: ignore[arg-type]


class _Sender:
    """The worker's end of the pipe; takes log lines in place of a LogShipper."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        with self._lock:
            self._pipe.send((kind, content))

    def add(self, line: Dict[str, Any]) -> None:
        self.send("line", line)


def serve(pipe: Any, flow_file: Optional[str], on_console: bool) -> None:
    """What a worker process does until nobody is at the other end of its pipe."""
    import pickle
    import queue
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    logs.run_lines_on_console = on_console
    if flow_file is not None:
        from sluice import loading

        loading.execute(flow_file)
    logs.follow_extra_loggers()
    calls: Any = queue.SimpleQueue()

    def listen() -> None:
        # A thread, so that the process ends with its parent even in the middle of a task.
        while True:
            try:
                calls.put(pipe.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)

    sender = _Sender(pipe)
    sender.send("ready", None)
    threading.Thread(target=listen, name="sluice-listen", daemon=True).start()
    while True:
        described, values = pickle.loads(calls.get())
        kind, content = _outcome(described, values, sender)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        try:
            sender.send(kind, content)
        except OSError:
            os._exit(0)


def _outcome(described: Dict[str, Any], values: bytes, sender: _Sender) -> Tuple[str, Any]:
    """Calls the function: the message that tells what became of it."""
    try:
        fn = _found(*described["place"])
        _, args, kwargs = results.unpickle(values)
    except NotImportable as error:
        return "unavailable", str(error)
    except Exception as error:
        return "unavailable", f"its arguments cannot be unpickled in another process ({type(error).__name__}: {error})"
    run = _TaskRun(described, sender)
    try:
        with context.entered(run):
            if described["is_async"]:
                import asyncio

                value = asyncio.run(fn(*args, **kwargs))
            else:
                value = fn(*args, **kwargs)
        try:
            return "value", results.pickle(value)
        except Exception as error:
            problem = TypeError(
                f"the result of task {described['task']!r} ({type(value).__name__}) cannot be sent back from its worker process: {error}. "
                "Return data that can be pickled, or run the flow with ConcurrentTaskRunner."
            )
            run.logger.error("%s", problem)
            return "error", results.pickle_exception(problem)
    except Exception as error:
        run.logger.error("Encountered exception during execution:", exc_info=error)
        return "error", results.pickle_exception(error)
    except RunStopped as error:
        return "exit", str(error)
    except BaseException as error:
        return "exit", f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
