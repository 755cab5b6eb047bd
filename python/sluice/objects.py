"""What the server answers, as `get_client()` hands it out."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from sluice.states import State

_TIMES = frozenset(
    ("created", "updated", "timestamp", "start_time", "end_time", "expected_start_time", "next_scheduled_start_time", "scheduled_time", "cache_expiration")
)


class Record(Dict[str, object] if TYPE_CHECKING else dict):
    """One object of the API: the JSON as it came, with its fields as attributes too.

    As attributes, times are `datetime`s, `state` is a State, and objects within are Records: `run.state.is_completed()`,
    `run.expected_start_time + timedelta(hours=1)`, `deployment["name"]`. Ids are texts.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            value: Any = self[name]
        except KeyError:
            raise AttributeError(f"the server's answer has no field {name!r}; it has {', '.join(map(str, self))}") from None
        if name in _TIMES and isinstance(value, str):
            from sluice import timestamps

            return timestamps.from_text(value)
        if name == "state" and isinstance(value, dict) and "timestamp" in value:
            return state_of(value)
        return records(value)

    def __repr__(self) -> str:
        shown = [f"{key}={self[key]!r}" for key in ("id", "name", "tag") if self.get(key)]
        return f"{type(self).__name__}({', '.join(shown)})" if "id" in self else dict.__repr__(self)


def state_of(body: Dict[str, Any]) -> State:
    """The state in an answer."""
    from sluice.states import State

    return State.from_api(body)


def records(value: Any) -> Any:
    """A decoded answer with its objects as Records."""
    if isinstance(value, dict):
        return value if isinstance(value, Record) else Record(value)
    if isinstance(value, list):
        return [records(item) for item in value]
    return value


def ident(value: Any) -> str:
    """The id of an object, which may be given itself. Raises TypeError for what has none."""
    if isinstance(value, dict):
        value = value.get("id")
    elif not isinstance(value, str) and hasattr(value, "id"):
        value = value.id
    text = "" if value is None else str(value)
    if not text:
        raise TypeError("an object of the API or its id is expected, and neither was given")
    return text


def plain(value: Any) -> Any:
    """What a request carries: the JSON of schedules, flow runners, filters and anything that knows its own."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    for method in ("to_json", "model_dump", "dict"):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            return plain(convert())
    from sluice import parameters

    return parameters.to_json(value)


def names_of(values: Any) -> List[str]:
    """Texts given as any collection. Raises TypeError for a single text, which would become its letters."""
    if isinstance(values, str):
        raise TypeError(f"a list of texts is expected, not the text {values!r}")
    return [str(value) for value in values or ()]
