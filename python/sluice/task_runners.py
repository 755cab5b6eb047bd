"""Where the tasks of a flow run are executed.

    @flow(task_runner=SequentialTaskRunner)

A runner is given as a class or an instance; each flow run works with a copy of its own.
"""
from __future__ import annotations

from sluice import execution
from sluice.threads import Threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from sluice.task_runs import TaskRun
    from sluice.workers import Pool

MAX_THREADS = 128  # task runs of one flow run that are executed at once
MAX_ASYNC = 1000  # the same for async tasks: each has a thread that waits for its coroutine


class _NoSlot:
    """Where nothing limits how many task runs execute but the threads themselves."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_NO_SLOT = _NoSlot()


class TaskRunner:
    """What all runners have in common."""

    in_turn = False  # whether a task has ended when its call returns

    def start(self) -> TaskRunner:
        """A runner of the same settings for one flow run."""
        return type(self)()

    def submit(self, work: Callable[[], None], is_async: bool) -> None:
        """Has `work` done, which never raises. Work begins in the order in which it is submitted."""
        raise NotImplementedError

    def slot(self, run: TaskRun) -> Any:
        """A context in which the run may execute: entering waits for that. Nothing else is waited for inside."""
        return _NO_SLOT

    def execute(self, run: TaskRun, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        """Calls the function of a task, in the thread that `submit` gave its work."""
        return execution.here(run, args, kwargs)

    def close(self) -> None:
        """Told when the flow run has ended."""


class SequentialTaskRunner(TaskRunner):
    """Each task runs to its end when it is called."""

    in_turn = True

    def submit(self, work: Callable[[], None], is_async: bool) -> None:
        work()


class ConcurrentTaskRunner(TaskRunner):
    """The default. Tasks run in threads, async tasks on the flow's event loop; they start in the order in which they were called.

    `max_workers` bounds the task runs of one flow run that execute at once. A task waits for its upstream tasks in its
    thread; those were called, hence started, before it, so the bound cannot make tasks wait for each other for ever.
    """

    def __init__(self, max_workers: int = MAX_THREADS) -> None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise ValueError(f"max_workers must be a whole number of at least 1, not {max_workers!r}")
        self.max_workers = max_workers
        self._threads = Threads(max_workers, "sluice-task")
        self._waiters = Threads(max(max_workers, MAX_ASYNC) if max_workers == MAX_THREADS else max_workers, "sluice-async")

    def start(self) -> ConcurrentTaskRunner:
        return type(self)(self.max_workers)

    def submit(self, work: Callable[[], None], is_async: bool) -> None:
        (self._waiters if is_async else self._threads).submit(work)


class ParallelTaskRunner(ConcurrentTaskRunner):
    """Tasks run in worker processes, as many at once as the machine has processors, or `max_workers`.

    A worker imports the task's module and looks the function up by its name. A task that cannot be found that way (a
    lambda, a function inside of another one, one typed into a console), or whose arguments cannot be pickled, runs in a
    thread, and a warning says so. Scripts call their flow under `if __name__ == "__main__":`.
    """

    def __init__(self, max_workers: Optional[int] = None) -> None:
        super().__init__()
        if max_workers is not None and (isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1):
            raise ValueError(f"max_workers must be a whole number of at least 1, not {max_workers!r}")
        self.max_processes = max_workers
        self._pool: Optional[Pool] = None

    def start(self) -> ParallelTaskRunner:
        from sluice.workers import Pool

        made = ParallelTaskRunner(self.max_processes)
        made._pool = Pool(self.max_processes)
        return made

    def slot(self, run: TaskRun) -> Any:
        return self._started().slot(run)

    def execute(self, run: TaskRun, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        return self._started().execute(run, args, kwargs)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def _started(self) -> Pool:
        assert self._pool is not None, "start() gives the runner that executes"
        return self._pool


_warned = set()  # names of aliases that were warned of in this process


class _Alias(ParallelTaskRunner):
    """A runner of another package: its tasks run in processes of this machine, its options mean nothing here."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        name = type(self).__name__
        # A worker executes the same file; its parent has said it.
        if (args or options) and name not in _warned and not execution.spawning():
            import warnings

            _warned.add(name)
            given = ", ".join([*map(repr, args), *options])
            warnings.warn(f"{name} is an alias of ParallelTaskRunner: tasks run in processes of this machine, and its options ({given}) are ignored.", stacklevel=2)


class DaskTaskRunner(_Alias):
    """ParallelTaskRunner, under the name flows written for Orion may use. Options are ignored, with a warning."""


class RayTaskRunner(_Alias):
    """ParallelTaskRunner, under the name flows written for Orion may use. Options are ignored, with a warning."""
