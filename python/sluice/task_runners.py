"""Where the tasks of a flow run are executed."""
from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List


class SequentialTaskRunner:
    """Each task runs to its end when it is called."""

    def start(self) -> SequentialTaskRunner:
        """A runner for one flow run."""
        return SequentialTaskRunner()

    def submit(self, work: Callable[[], None]) -> None:
        """Executes `work`, which never raises."""
        work()


class ConcurrentTaskRunner:
    """Tasks run in threads, started in the order in which they were called.

    `max_workers` bounds the threads of one flow run. A task waits for its upstream tasks in its thread; those were
    called, hence started, before it, so the bound cannot make tasks wait for each other for ever.
    """

    def __init__(self, max_workers: int = 128) -> None:
        if max_workers < 1:
            raise ValueError("max_workers must be at least 1")
        self.max_workers = max_workers
        self._changed = threading.Condition()  # guards what follows
        self._queue: List[Callable[[], None]] = []
        self._threads = 0
        self._idle = 0

    def start(self) -> ConcurrentTaskRunner:
        """A runner for one flow run."""
        return type(self)(self.max_workers)

    def submit(self, work: Callable[[], None]) -> None:
        """Queues `work`, which never raises."""
        with self._changed:
            self._queue.append(work)
            if self._idle >= len(self._queue) or self._threads >= self.max_workers:
                self._changed.notify()
                return
            self._threads += 1
        # Daemon: a task stuck in user code must not keep a process alive whose run was stopped.
        threading.Thread(target=self._work, name="sluice-task", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._idle += 1
                    woken = self._changed.wait(5.0)
                    self._idle -= 1
                    if not woken and not self._queue:
                        self._threads -= 1
                        return
                work = self._queue.pop(0)
            work()
            del work
