"""Threads that work off a queue in order. `concurrent.futures` takes 10 ms to import, and joins its threads at exit."""
from __future__ import annotations

import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Deque

IDLE_SECONDS = 5.0  # after this a thread without work ends


class Threads:
    """At most `limit` daemon threads, started when there is work for them, that take it in the order it came.

    Daemon: work stuck in user code must not keep a process alive whose run was stopped.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._changed = threading.Condition()  # guards what follows
        self._queue: Deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Queues `work`, which never raises."""
        with self._changed:
            self._queue.append(work)
            if self._idle >= len(self._queue) or self._threads >= self._limit:
                self._changed.notify()
                return
            self._threads += 1
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._idle += 1
                    woken = self._changed.wait(IDLE_SECONDS)
                    self._idle -= 1
                    if not woken and not self._queue:
                        self._threads -= 1
                        return
                work = self._queue.popleft()
            work()
            del work  # with all it refers to, while the thread waits
