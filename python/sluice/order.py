"""The order in which tasks begin: that of their calls, although many ask the server at the same time whether they may."""
from __future__ import annotations

import threading
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Deque

PATIENCE_SECONDS = 10.0  # how long a task waits for one that was called before it and hears nothing from the server


class Place:
    """A task run's place in the order."""

    __slots__ = ("left", "turn")

    def __init__(self) -> None:
        self.left = False
        self.turn = threading.Lock()  # held until it is this place's turn
        self.turn.acquire()


class Order:
    """The task runs of one flow run that wait for nothing but the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _places
        self._places: Deque[Place] = deque()

    def join(self) -> Place:
        """The last place."""
        place = Place()
        with self._lock:
            self._places.append(place)
            if self._places[0] is place:
                place.turn.release()
        return place

    def wait(self, place: Place, check: Callable[[], None]) -> None:
        """Waits until all before have left, or for PATIENCE_SECONDS. `check` raises what ends the wait."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not place.turn.acquire(timeout=0.5):
            check()
            if time.monotonic() > deadline:
                return
        place.turn.release()

    def leave(self, place: Place) -> None:
        """Lets the next begin. May be called again."""
        with self._lock:
            if place.left:
                return
            place.left = True
            moved = False
            while self._places and self._places[0].left:
                self._places.popleft()
                moved = True
            if moved and self._places:
                self._places[0].turn.release()
