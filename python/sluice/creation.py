"""Creation of task runs at the server: in the background, several at once, handed on in the order of the calls.

A call that waited for its task run to be created would make a flow of a thousand tasks spend its time on a thousand
answers one after the other.
"""
from __future__ import annotations

import threading
from collections import deque

from sluice.threads import Threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Deque

AT_ONCE = 16  # requests; the server writes those that come together in one go
BACKLOG = 512  # calls that wait for their task run; a further one waits until there are fewer


class _Entry:
    __slots__ = ("create", "start", "created")

    def __init__(self, create: Callable[[], None], start: Callable[[], None]) -> None:
        self.create, self.start, self.created = create, start, False


class Creation:
    """The task runs of one flow run that are being created."""

    def __init__(self) -> None:
        self._threads = Threads(AT_ONCE, "sluice-create")
        self._changed = threading.Condition()  # guards _order; notified when something was created
        self._order: Deque[_Entry] = deque()
        self._handing_on = threading.Lock()  # held by who starts entries: they start one after the other

    def full(self) -> bool:
        """Whether the next `add` would wait."""
        return len(self._order) >= BACKLOG

    def add(self, create: Callable[[], None], start: Callable[[], None]) -> None:
        """Has `create` called, and when it is done with all that were added before, `start`. Neither raises."""
        entry = _Entry(create, start)
        with self._changed:
            while len(self._order) >= BACKLOG:
                self._changed.wait()
            self._order.append(entry)
        self._threads.submit(lambda: self._process(entry))

    def wait_for(self, known: Callable[[], bool]) -> None:
        """Waits until `known()`, which some `create` makes true."""
        with self._changed:
            self._changed.wait_for(known)

    def _process(self, entry: _Entry) -> None:
        entry.create()
        with self._changed:
            entry.created = True
            self._changed.notify_all()
        with self._handing_on:
            while True:
                with self._changed:
                    if not self._order or not self._order[0].created:
                        return
                    first = self._order.popleft()
                    self._changed.notify_all()
                first.start()
