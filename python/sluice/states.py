"""States of runs, their results, and how the final state of a flow follows from what it returned."""
from __future__ import annotations

from sluice import timestamps
from sluice.errors import FailedWithoutException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Dict, Iterable, List, Optional

SCHEDULED, PENDING, RUNNING = "SCHEDULED", "PENDING", "RUNNING"
COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"
FINAL_TYPES = frozenset((COMPLETED, FAILED, CANCELLED))

_NOT_GIVEN: Any = object()


class State:
    """What a run is doing or how it ended. Flow calls return one; futures give one."""

    __slots__ = ("id", "type", "name", "message", "timestamp", "state_details", "data", "_value")

    def __init__(
        self,
        type: str,
        name: Optional[str] = None,
        message: Optional[str] = None,
        *,
        timestamp: Optional[datetime] = None,
        state_details: Optional[Dict[str, Any]] = None,
        data: Optional[Dict[str, Any]] = None,
        id: Optional[str] = None,
        result: Any = _NOT_GIVEN,
    ) -> None:
        if type not in (SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CANCELLED):
            raise ValueError(f"{type!r} is not a type of state")
        self.type = type
        self.name = name or type.capitalize()
        self.message = message
        self.timestamp = timestamp or timestamps.now()
        self.state_details = state_details or {}
        self.data = data  # the result as stored: {"encoding": ..., "blob": ...}
        self.id = id
        self._value = result  # the result itself, where this process made or read it

    @classmethod
    def from_api(cls, body: Dict[str, Any], result: Any = _NOT_GIVEN) -> State:
        """The state the server answered, with the result this process knows for it."""
        return cls(
            body["type"],
            body["name"],
            body.get("message"),
            timestamp=timestamps.from_text(body["timestamp"]),
            state_details=body.get("state_details"),
            data=body.get("data"),
            id=body.get("id"),
            result=result,
        )

    def is_scheduled(self) -> bool:
        return self.type == SCHEDULED

    def is_pending(self) -> bool:
        return self.type == PENDING

    def is_running(self) -> bool:
        return self.type == RUNNING

    def is_completed(self) -> bool:
        return self.type == COMPLETED

    def is_failed(self) -> bool:
        return self.type == FAILED

    def is_cancelled(self) -> bool:
        return self.type == CANCELLED

    def is_final(self) -> bool:
        return self.type in FINAL_TYPES

    def result(self, raise_on_failure: bool = True) -> Any:
        """The run's result. For a failed run raises its exception, or returns that when `raise_on_failure` is false."""
        if self._value is _NOT_GIVEN:
            if self.data is None:
                if self.type == FAILED and raise_on_failure:
                    raise FailedWithoutException(f"the run failed without an exception: {self}")
                return None
            from sluice import results

            self._value = results.load(self.data)
        if self.type == FAILED and raise_on_failure:
            return raise_failure(self._value)
        return self._value

    def copy_with(self, **changes: Any) -> State:
        """A copy with some attributes replaced."""
        fields = {key: getattr(self, key) for key in self.__slots__ if key != "_value"}
        fields["result"] = self._value
        fields.update(changes)
        type, name, message = fields.pop("type"), fields.pop("name"), fields.pop("message")
        return State(type, name, message, **fields)

    def __reduce__(self) -> Any:
        value = _PICKLED_MISSING if self._value is _NOT_GIVEN or self.data is not None else self._value
        return _unpickle, (self.type, self.name, self.message, self.timestamp, self.state_details, self.data, self.id, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return (self.type, self.name, self.message, self.id) == (other.type, other.name, other.message, other.id)

    def __hash__(self) -> int:
        return hash((self.type, self.name, self.message, self.id))

    def __str__(self) -> str:
        """As in log lines: `Completed(None)`, `Failed('message')`, `Cached(None, type=COMPLETED)`."""
        kind = f", type={self.type}" if self.name.upper() != self.type else ""
        return f"{self.name}({self.message!r}{kind})"

    def __repr__(self) -> str:
        known = repr(self._value) if self._value is not _NOT_GIVEN else ("<stored>" if self.data else "None")
        where = {key: value for key, value in self.state_details.items() if value and key.endswith("_id")}
        ids = "".join(f", {key}={value}" for key, value in where.items())
        return f"{self.name}(message={self.message!r}, type={self.type}, result={known}{ids})"


_PICKLED_MISSING = "__sluice_result_not_here__"


def _unpickle(
    type: str,
    name: str,
    message: Optional[str],
    timestamp: datetime,
    details: Dict[str, Any],
    data: Optional[Dict[str, Any]],
    id: Optional[str],
    value: Any,
) -> State:
    missing = isinstance(value, str) and value == _PICKLED_MISSING
    return State(
        type, name, message, timestamp=timestamp, state_details=details, data=data, id=id, result=_NOT_GIVEN if missing else value
    )


def _constructor(type: str, name: str, doc: str) -> Any:
    def construct(message: Optional[str] = None, data: Any = _NOT_GIVEN, **fields: Any) -> State:
        return State(type, fields.pop("name", name), message, result=data, **fields)

    construct.__name__ = construct.__qualname__ = name
    construct.__doc__ = doc
    return construct


Completed = _constructor(COMPLETED, "Completed", "A state of success; `data` is its result.")
Failed = _constructor(FAILED, "Failed", "A state of failure; `data` is the exception.")
Cancelled = _constructor(CANCELLED, "Cancelled", "A state of a run that was cancelled.")
Pending = _constructor(PENDING, "Pending", "A state before running.")
Running = _constructor(RUNNING, "Running", "A state while running.")


def Scheduled(scheduled_time: Optional[datetime] = None, message: Optional[str] = None) -> State:
    """A state of a run that waits for a time; now when none is given."""
    moment = scheduled_time or timestamps.now()
    return State(SCHEDULED, "Scheduled", message, state_details={"scheduled_time": timestamps.to_text(moment)})


def raise_failure(value: Any) -> Any:
    """Raises what a failed state's result stands for: the exception, or that of the first failed state in it.

    One that would end the program (SystemExit, KeyboardInterrupt) is returned, with a warning.
    """
    if isinstance(value, Exception):
        raise value
    if isinstance(value, BaseException):
        import warnings

        warnings.warn(f"The run ended with {type(value).__name__}, which is returned and not raised: it would end this program.", stacklevel=3)
        return value
    if isinstance(value, State):
        return value.result()
    if isinstance(value, (list, tuple, set)):
        for item in value:
            if isinstance(item, State) and item.type == FAILED:
                return item.result()
        for item in value:
            if isinstance(item, State) and not item.is_completed():
                raise FailedWithoutException(f"a run ended as {item}" if item.is_final() else f"a run did not end: it is {item}")
    raise FailedWithoutException(f"the result of a failed run is neither an exception nor a state: {value!r}")


def aggregate(states: Iterable[State], data: Any) -> State:
    """The final state of a flow whose outcome is that of several states; `data` becomes its result."""
    found: List[State] = list(states)
    failed = sum(state.type in (FAILED, CANCELLED) for state in found)
    waiting = sum(not state.is_final() for state in found)
    if failed:
        return State(FAILED, None, f"{failed}/{len(found)} states failed.", result=data)
    if waiting:
        return State(FAILED, None, f"{waiting}/{len(found)} states are not final.", result=data)
    return State(COMPLETED, None, "All states completed.", result=data)


REFERRED_BYTES = 256  # results of runs above this are not repeated in the result of the flow they belong to


def to_store(value: Any) -> Any:
    """What is stored for a flow whose result is the states of other runs: their results lie with those runs.

    Without this a flow of ten thousand tasks would store all their results a second time, in one piece, and one result
    that cannot be stored would keep all states from being stored.
    """
    if isinstance(value, State):
        return _reference(value)
    if isinstance(value, (list, tuple, set)) and as_states(value) is not None:
        return type(value)(_reference(item) for item in value)
    return value


def _reference(state: State) -> State:
    details, data = state.state_details, state.data
    id, kind = details.get("task_run_id"), "task_run"
    if id is None:
        id, kind = details.get("flow_run_id"), "flow_run"
    if state.id is None or id is None:
        return state  # made by user code
    if data is not None and len(data.get("blob") or "") > REFERRED_BYTES:
        data = {"encoding": "sluice-state", "blob": f"{kind} {id}"}
    return state.copy_with(data=data, result=_NOT_GIVEN)


def as_states(value: Any) -> Optional[List[State]]:
    """The states a returned value consists of: one state, or a non-empty list, tuple or set of them; else None."""
    if isinstance(value, State):
        return [value]
    if isinstance(value, (list, tuple, set)) and value and all(isinstance(item, State) for item in value):
        return list(value)
    return None
