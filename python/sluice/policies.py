"""Policies of deployments: limits, timeouts, retries after a crash, priority. The server enforces them; here they are checked."""
from __future__ import annotations

from sluice import timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Mapping, Optional, Sequence

FIELDS = ("concurrency_limit", "on_conflict", "overlap", "dst", "on_crash", "queue_timeout_seconds", "run_timeout_seconds", "priority")


def to_json(given: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The policy of a specification as the API takes it, None when nothing is said. Raises ValueError."""
    policy: Dict[str, Any] = {}
    for name in FIELDS:
        value = given.get(name)
        if value is None:
            continue
        if name == "concurrency_limit":
            policy[name] = _whole(name, value, 0, 2**31 - 1)
        elif name == "priority":
            policy[name] = _whole(name, value, 1, 1000)
        elif name == "on_conflict":
            policy[name] = _word(name, value, ("queue", "skip", "cancel-running"))
        elif name == "overlap":
            policy[name] = _word(name, value, ("allow", "queue", "skip", "cancel-running"))
        elif name == "dst":
            policy[name] = _dst(value)
        elif name == "on_crash":
            policy[name] = _on_crash(value)
        else:
            policy[name] = _seconds(name, value, above_zero=True)
    return policy or None


def retention_to_json(given: Any) -> Optional[Dict[str, Any]]:
    """How long finished runs and their logs are kept, as the API takes it; None when nothing is said. Raises ValueError.

    `{"runs": {"max_age": "30d", "max_count": 1000}, "logs": {"max_age": timedelta(days=7)}}`; what is missing is as the cluster
    says, an age may be "forever", a count of None is no bound.
    """
    if given is None:
        return None
    retention: Dict[str, Any] = {}
    for what, rule in _members("retention", given, ("runs", "logs")).items():
        if rule is None:
            continue
        entry: Dict[str, Any] = {}
        for bound, value in _members(f"retention.{what}", rule, ("max_age", "max_count")).items():
            if bound == "max_count":
                entry[bound] = 0 if value is None else _whole(f"retention.{what}.max_count", value, 0, 2**31 - 1)
            elif isinstance(value, str):
                entry[bound] = value
            else:
                entry[bound] = int(_seconds(f"retention.{what}.max_age", value, above_zero=True))
        retention[what] = entry
    return retention


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def _word(name: str, value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _seconds(name: str, value: Any, above_zero: bool = False) -> float:
    try:
        seconds = float("nan") if isinstance(value, (bool, str)) else float(timestamps.seconds(value))
    except (TypeError, ValueError):
        seconds = float("nan")
    if not (seconds > 0 or seconds == 0 and not above_zero) or seconds == float("inf"):
        raise ValueError(f"{name} must be a timedelta or a number of seconds{' above zero' if above_zero else ''}, not {value!r}")
    return seconds


def _members(name: str, value: Any, allowed: Sequence[str]) -> Dict[str, Any]:
    if not isinstance(value, dict) or set(value) - set(allowed):
        raise ValueError(f"{name} must be a mapping with {' and '.join(allowed)}, not {value!r}")
    return dict(value)


def _dst(value: Any) -> Dict[str, Any]:
    members = _members("dst", value, ("skipped", "repeated"))
    return {
        "skipped": _word("dst.skipped", members.get("skipped", "shift"), ("shift", "skip")),
        "repeated": _word("dst.repeated", members.get("repeated", "last"), ("last", "first", "both")),
    }


def _on_crash(value: Any) -> Dict[str, Any]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"retries": value}
    members = _members("on_crash", value, ("retries", "delay_seconds"))
    return {
        "retries": _whole("on_crash.retries", members.get("retries", 0), 0, 100),
        "delay_seconds": _seconds("on_crash.delay_seconds", members.get("delay_seconds", 0)),
    }
