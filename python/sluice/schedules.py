"""Schedules of deployments. The server computes the times; here they are only described and checked for obvious errors."""
from __future__ import annotations

from datetime import datetime, timedelta

from sluice import timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Union

_ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")


def _timezone(name: Optional[str]) -> Optional[str]:
    if name is None:
        return None
    try:
        from zoneinfo import ZoneInfo

        ZoneInfo(name)
    except Exception as error:
        # A machine without time zone data knows none: the server decides then.
        import zoneinfo

        if zoneinfo.available_timezones():
            raise ValueError(f"{name!r} is not a time zone like 'Europe/Berlin'") from error
    return name


class IntervalSchedule:
    """A run every `interval`, counted from `anchor_date` (2020-01-01 in the time zone when not given)."""

    def __init__(
        self,
        interval: Union[timedelta, float, int],
        anchor_date: Optional[Union[datetime, str]] = None,
        timezone: Optional[str] = None,
    ) -> None:
        if isinstance(interval, bool) or not isinstance(interval, (timedelta, int, float)):
            raise ValueError(f"interval must be a timedelta or a number of seconds, not {interval!r}")
        seconds = timestamps.seconds(interval)
        if not 0 < seconds < float("inf"):
            raise ValueError(f"interval must be longer than zero, not {interval!r}")
        self.interval = timedelta(seconds=seconds)
        if isinstance(anchor_date, str):
            anchor_date = timestamps.from_text(anchor_date)
        if anchor_date is not None and not isinstance(anchor_date, datetime):
            raise ValueError(f"anchor_date must be a datetime, not {anchor_date!r}")
        self.timezone = _timezone(timezone)
        if anchor_date is not None and anchor_date.tzinfo is None and timezone is not None:
            from zoneinfo import ZoneInfo

            anchor_date = anchor_date.replace(tzinfo=ZoneInfo(timezone))
        self.anchor_date = anchor_date

    def to_json(self) -> Dict[str, Any]:
        """As the API takes it."""
        body: Dict[str, Any] = {"interval": self.interval.total_seconds(), "timezone": self.timezone}
        if self.anchor_date is not None:
            body["anchor_date"] = timestamps.to_text(self.anchor_date)
        return body


class CronSchedule:
    """Runs at the times of a cron expression, in a time zone (UTC when not given). `day_or` false joins day of month
    and day of week with "and"."""

    def __init__(self, cron: str, timezone: Optional[str] = None, day_or: bool = True) -> None:
        if not isinstance(cron, str):
            raise ValueError(f"cron must be a string like '0 9 * * 1-5', not {cron!r}")
        fields = cron.split()
        if cron.strip().lower() not in _ALIASES and len(fields) not in (5, 6):
            raise ValueError(
                f"cron string {cron!r} has {len(fields)} fields; it needs 5 (minute hour day month weekday), or 6 with seconds last"
            )
        for field in fields:
            if not all(character.isalnum() or character in "*,-/#?@" for character in field):
                raise ValueError(f"cron string {cron!r} has an invalid field {field!r}")
        self.cron = cron
        self.timezone = _timezone(timezone)
        self.day_or = bool(day_or)

    def to_json(self) -> Dict[str, Any]:
        """As the API takes it."""
        return {"cron": self.cron, "timezone": self.timezone, "day_or": self.day_or}


class RRuleSchedule:
    """Runs at the times of an iCalendar recurrence rule, in a time zone (UTC when not given)."""

    def __init__(self, rrule: str, timezone: Optional[str] = None) -> None:
        if not isinstance(rrule, str) or "FREQ=" not in rrule.upper():
            raise ValueError(f"rrule must be a string like 'FREQ=DAILY;COUNT=5', not {rrule!r}")
        self.rrule = rrule
        self.timezone = _timezone(timezone)

    @classmethod
    def from_rrule(cls, rule: Any) -> RRuleSchedule:
        """From an rrule object of dateutil (anything whose `str` is the rule)."""
        zone = getattr(getattr(rule, "_dtstart", None), "tzinfo", None)
        name = getattr(zone, "key", None) or getattr(zone, "zone", None) or getattr(zone, "name", None)
        return cls(str(rule), timezone=name if isinstance(name, str) else None)

    def to_json(self) -> Dict[str, Any]:
        """As the API takes it."""
        return {"rrule": self.rrule, "timezone": self.timezone or "UTC"}


def from_json(body: Any) -> Any:
    """The schedule of a specification: its fields say which kind it is. Raises ValueError."""
    if isinstance(body, (IntervalSchedule, CronSchedule, RRuleSchedule)):
        return body
    if not isinstance(body, dict):
        raise ValueError(f"schedule must have one of interval, cron or rrule, not be {body!r}")
    kinds = [name for name in ("interval", "cron", "rrule") if name in body]
    if len(kinds) != 1:
        raise ValueError(f"schedule must have exactly one of interval, cron and rrule; it has {' and '.join(kinds) or 'none'}")
    allowed = {"interval": {"interval", "anchor_date", "timezone"}, "cron": {"cron", "timezone", "day_or"}, "rrule": {"rrule", "timezone"}}[kinds[0]]
    unknown = sorted(set(body) - allowed)
    if unknown:
        raise ValueError(f"schedule has unknown fields: {', '.join(unknown)}; {kinds[0]} schedules have {', '.join(sorted(allowed))}")
    fields = dict(body)
    if kinds[0] == "interval" and isinstance(fields["interval"], str):
        from sluice.parameters import coerce

        try:
            fields["interval"] = coerce(fields["interval"], timedelta)
        except (TypeError, ValueError) as error:
            raise ValueError(f"interval: {error}; give seconds, or a duration like PT15M or 00:15:00") from None
    kind: Any = {"interval": IntervalSchedule, "cron": CronSchedule, "rrule": RRuleSchedule}[kinds[0]]
    return kind(**fields)
