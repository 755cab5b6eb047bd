"""Arguments of flow calls: binding, validation by annotation, JSON forms, JSON Schema.

Plain functions are bound here without `inspect`, whose import takes 6 ms; everything unusual goes through it.
"""
from __future__ import annotations

import sys

from sluice.errors import ParameterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

_VARARGS, _VARKEYWORDS = 0x04, 0x08


def _is_plain(fn: Callable[..., Any]) -> bool:
    return type(fn) is type(_is_plain) and not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__")


def bind(fn: Callable[..., Any], args: Tuple[Any, ...], kwargs: Mapping[str, Any]) -> Dict[str, Any]:
    """Arguments by parameter name, defaults filled in; variadic ones as a tuple and a dict under their own names."""
    if not _is_plain(fn):
        return _bind_slowly(fn, args, kwargs)
    code: Any = fn.__code__
    count, only = code.co_argcount, code.co_kwonlyargcount
    positional, keyword = code.co_varnames[:count], code.co_varnames[count : count + only]
    defaults: Tuple[Any, ...] = fn.__defaults__ or ()  # type: ignore[attr-defined]
    keyword_defaults: Dict[str, Any] = fn.__kwdefaults__ or {}  # type: ignore[attr-defined]
    if len(args) > count and not code.co_flags & _VARARGS:
        return _bind_slowly(fn, args, kwargs)
    bound: Dict[str, Any] = dict(zip(positional, args))
    rest = dict(kwargs)
    for index, name in enumerate(positional):
        if name in rest:
            if name in bound or index < code.co_posonlyargcount:
                return _bind_slowly(fn, args, kwargs)
            bound[name] = rest.pop(name)
        elif name not in bound:
            place = index - (count - len(defaults))
            if place < 0:
                return _bind_slowly(fn, args, kwargs)
            bound[name] = defaults[place]
    for name in keyword:
        if name in rest:
            bound[name] = rest.pop(name)
        elif name in keyword_defaults:
            bound[name] = keyword_defaults[name]
        else:
            return _bind_slowly(fn, args, kwargs)
    place = count + only
    if code.co_flags & _VARARGS:
        bound[code.co_varnames[place]] = tuple(args[count:])
        place += 1
    if code.co_flags & _VARKEYWORDS:
        bound[code.co_varnames[place]] = rest
    elif rest:
        return _bind_slowly(fn, args, kwargs)
    return bound


def _bind_slowly(fn: Callable[..., Any], args: Tuple[Any, ...], kwargs: Mapping[str, Any]) -> Dict[str, Any]:
    import inspect

    try:
        signature = inspect.signature(fn)
    except ValueError:  # some builtins have none
        return {**{f"arg{index}": value for index, value in enumerate(args)}, **kwargs}
    try:
        found = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ParameterError(f"{getattr(fn, '__name__', fn)}{signature}: {error}") from None
    found.apply_defaults()
    return dict(found.arguments)


def call_arguments(fn: Callable[..., Any], bound: Mapping[str, Any]) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:
    """The inverse of `bind`: positional and keyword arguments to call `fn` with."""
    if _is_plain(fn):
        code: Any = fn.__code__
        count, only = code.co_argcount, code.co_kwonlyargcount
        args = [bound[name] for name in code.co_varnames[:count]]
        keywords = {name: bound[name] for name in code.co_varnames[count : count + only]}
        place = count + only
        if code.co_flags & _VARARGS:
            args.extend(bound[code.co_varnames[place]])
            place += 1
        if code.co_flags & _VARKEYWORDS:
            keywords.update(bound[code.co_varnames[place]])
        return tuple(args), keywords
    import inspect

    try:
        signature = inspect.signature(fn)
    except ValueError:
        return (), dict(bound)
    found = inspect.BoundArguments(signature, dict(bound))  # type: ignore[arg-type]
    return found.args, found.kwargs


def from_stored(fn: Callable[..., Any], stored: Mapping[str, Any]) -> Dict[str, Any]:
    """Binds the parameters of a deployment's run: all by name. Raises ParameterError."""
    variadic, keywords = _variadics(fn)
    given = dict(stored)
    args = given.pop(variadic, ()) if variadic else ()
    extra = given.pop(keywords, {}) if keywords else {}
    if args:
        names = _positional(fn)
        return bind(fn, tuple(given.pop(name) for name in names if name in given) + tuple(args), {**given, **extra})
    return bind(fn, (), {**given, **extra})


def _positional(fn: Callable[..., Any]) -> Tuple[str, ...]:
    code: Any = getattr(fn, "__code__", None)
    return tuple(code.co_varnames[: code.co_argcount]) if code is not None else ()


def _variadics(fn: Callable[..., Any]) -> Tuple[Optional[str], Optional[str]]:
    code: Any = getattr(fn, "__code__", None)
    if code is None or not _is_plain(fn):
        return None, None
    place = code.co_argcount + code.co_kwonlyargcount
    variadic = keywords = None
    if code.co_flags & _VARARGS:
        variadic, place = code.co_varnames[place], place + 1
    if code.co_flags & _VARKEYWORDS:
        keywords = code.co_varnames[place]
    return variadic, keywords


# Validation


def annotations(fn: Callable[..., Any]) -> Dict[str, Any]:
    """Annotations of a function, names resolved where that is possible."""
    raw: Dict[str, Any] = dict(getattr(fn, "__annotations__", None) or {})
    space = getattr(fn, "__globals__", {})
    for name, hint in raw.items():
        if isinstance(hint, str):
            try:
                raw[name] = eval(hint, space)  # noqa: S307, the function's own annotation in its own module
            except Exception:
                raw[name] = None  # not checked
    return raw


def validate(fn: Callable[..., Any], bound: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments coerced to the function's annotations, as pydantic 1 does. Raises ParameterError naming every wrong one.

    A default of None makes None allowed, whatever the annotation says.
    """
    hints = annotations(fn)
    variadic, keywords = _variadics(fn)
    optional = _with_default_none(fn)
    result, problems = dict(bound), []
    for name, value in bound.items():
        hint = hints.get(name)
        if hint is None or (value is None and name in optional):
            continue
        try:
            if name == variadic:
                result[name] = tuple(coerce(item, hint) for item in value)
            elif name == keywords:
                result[name] = {key: coerce(item, hint) for key, item in value.items()}
            else:
                result[name] = coerce(value, hint)
        except (TypeError, ValueError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ParameterError("; ".join(problems))
    return result


def _with_default_none(fn: Callable[..., Any]) -> List[str]:
    """The parameters whose default is None."""
    code: Any = getattr(fn, "__code__", None)
    defaults: Tuple[Any, ...] = getattr(fn, "__defaults__", None) or ()
    named = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount] if code is not None and _is_plain(fn) else ()
    keywords: Dict[str, Any] = getattr(fn, "__kwdefaults__", None) or {}
    return [name for name, default in [*zip(named, defaults), *keywords.items()] if default is None]


_TRUE = frozenset(("true", "1", "yes", "y", "on", "t"))
_FALSE = frozenset(("false", "0", "no", "n", "off", "f"))


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def coerce(value: Any, hint: Any) -> Any:
    """`value` as an instance of the annotated type, converting as pydantic 1 does. Raises TypeError or ValueError."""
    module = getattr(hint, "__module__", "")
    if hint is None or hint is type(None):
        if value is None:
            return None
        raise TypeError(f"{_show(value)} is not None")
    if module != "typing" and isinstance(hint, type) and not hasattr(hint, "__origin__"):
        return _coerce_class(value, hint)
    return _coerce_generic(value, hint)


def _coerce_class(value: Any, hint: type) -> Any:
    if hint is object:
        return value
    if hint is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, (int, float)) and value in (0, 1):
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
            return value.strip().lower() in _TRUE
        raise TypeError(f"{_show(value)} is not a bool")
    if hint is int:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, int):
            return value
        if isinstance(value, (float, str, bytes)):
            try:
                return int(value)
            except (ValueError, OverflowError):
                pass
        raise TypeError(f"{_show(value)} is not an integer")
    if hint is float:
        if isinstance(value, (int, float, str)):
            try:
                return float(value)
            except ValueError:
                pass
        raise TypeError(f"{_show(value)} is not a number")
    if hint is str:
        if isinstance(value, str):
            return value
        if isinstance(value, (int, float)) or type(value).__name__ == "Decimal":
            return str(value)
        if isinstance(value, (bytes, bytearray)):
            return value.decode()
        raise TypeError(f"{_show(value)} is not a string")
    if hint is bytes and isinstance(value, str):
        return value.encode()
    if isinstance(value, hint):
        return value
    if hint in (list, tuple, set, frozenset):
        if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "__next__"):
            return hint(value)
        raise TypeError(f"{_show(value)} is not a {hint.__name__}")
    if hint is dict:
        try:
            return dict(value)  # pairs
        except (TypeError, ValueError):
            raise TypeError(f"{_show(value)} is not a dict") from None
    for method in ("model_validate", "parse_obj"):
        parse = getattr(hint, method, None)
        if parse is not None:
            return parse(_primitives_for_model(value, hint) if method == "model_validate" else value)
    if hasattr(hint, "__dataclass_fields__") and isinstance(value, dict):
        known = annotations_of_class(hint)
        return hint(**{key: coerce(item, known[key]) if known.get(key) is not None else item for key, item in value.items()})
    special = _coerce_special(value, hint)
    if special is not None:
        return special
    raise TypeError(f"{_show(value)} is not a {hint.__name__}")


def annotations_of_class(cls: type) -> Dict[str, Any]:
    """Annotations of a class and its bases, names resolved where that is possible."""
    found: Dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        space = vars(sys.modules.get(base.__module__)) if sys.modules.get(base.__module__) else {}
        for name, hint in base.__dict__.get("__annotations__", {}).items():
            if isinstance(hint, str):
                try:
                    hint = eval(hint, dict(space))  # noqa: S307, the class's own annotation in its own module
                except Exception:
                    hint = None
            found[name] = hint
    return found


def _primitives_for_model(value: Any, model: type) -> Any:
    """pydantic 2 refuses the number-to-string conversions of version 1 that flows rely on: do them first."""
    if not isinstance(value, dict):
        return value
    known = annotations_of_class(model)
    result = dict(value)
    for key, item in value.items():
        if known.get(key) in (int, float, str, bool):
            try:
                result[key] = coerce(item, known[key])
            except (TypeError, ValueError):
                pass  # the model says what is wrong
    return result


def _coerce_special(value: Any, hint: type) -> Any:
    import datetime
    import enum

    if issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            if isinstance(value, str) and value in hint.__members__:
                return hint[value]
            raise ValueError(f"{_show(value)} is none of {', '.join(repr(member.value) for member in hint)}") from None
    if hint is datetime.datetime:
        if isinstance(value, str):
            from sluice.timestamps import from_text

            naive = not (value.endswith(("Z", "z")) or "+" in value[10:] or "-" in value[10:])
            moment = from_text(value)
            return moment.replace(tzinfo=None) if naive else moment
        if isinstance(value, (int, float)):
            return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        if isinstance(value, datetime.date):
            return datetime.datetime(value.year, value.month, value.day)
    if hint is datetime.date and isinstance(value, (int, float)):
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).date()
    if hint is datetime.date and isinstance(value, str):
        return datetime.date.fromisoformat(value)
    if hint is datetime.time and isinstance(value, str):
        return datetime.time.fromisoformat(value)
    if hint is datetime.timedelta:
        if isinstance(value, (int, float)):
            return datetime.timedelta(seconds=value)
        if isinstance(value, str):
            return _timedelta(value)
    if isinstance(value, str):
        name = f"{hint.__module__}.{hint.__name__}"
        if name == "uuid.UUID" or name.startswith("pathlib.") or name in ("decimal.Decimal", "_decimal.Decimal", "pathlib._local.Path"):
            try:
                return hint(value)
            except (ValueError, ArithmeticError):
                raise ValueError(f"{_show(value)} is not a {hint.__name__}") from None
    if hint.__name__ == "Decimal" and isinstance(value, (int, float)):
        return hint(str(value))
    return None


def _timedelta(text: str) -> Any:
    import datetime
    import re

    try:
        return datetime.timedelta(seconds=float(text))
    except ValueError:
        pass
    match = re.fullmatch(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", text)
    if match and any(match.groups()):
        weeks, days, hours, minutes, secs = (float(part or 0) for part in match.groups())
        return datetime.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=secs)
    match = re.fullmatch(r"(?:(\d+)(?: days?,?)? )?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if match:
        days, hours, minutes, secs = (float(part or 0) for part in match.groups())
        return datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=secs)
    raise ValueError(f"{text!r} is not a duration")


def _coerce_generic(value: Any, hint: Any) -> Any:
    import collections.abc
    import typing

    if hint is typing.Any or isinstance(hint, (typing.TypeVar, typing.ForwardRef)):
        return value
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is None:
        return value  # a special form or a callable used as annotation: nothing to check
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        if value is None and type(None) in args:
            return None
        problems = []  # the first option that fits wins, even if a later one fits without a conversion
        for option in args:
            try:
                return coerce(value, option)
            except (TypeError, ValueError) as error:
                problems.append(str(error))
        raise TypeError(problems[0] if problems else f"{_show(value)} does not fit {hint}")
    if origin is typing.Literal:
        for option in args:
            if value == option and type(value) is type(option):
                return option
        raise ValueError(f"{_show(value)} is none of {', '.join(map(repr, args))}")
    if getattr(hint, "__metadata__", None) is not None:  # Annotated[T, ...]
        return coerce(value, hint.__origin__)
    if origin is tuple:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise TypeError(f"{_show(value)} is not a tuple")
        items = list(value)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(coerce(item, args[0]) for item in items)
        if args == ((),):
            args = ()
        if len(items) != len(args):
            raise ValueError(f"{_show(value)} has {len(items)} items instead of {len(args)}")
        return tuple(coerce(item, kind) for item, kind in zip(items, args))
    if origin in (list, set, frozenset) or origin in (
        collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, collections.abc.MutableSequence,
    ):
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise TypeError(f"{_show(value)} is not a list")
        target = origin if origin in (list, set, frozenset) else (type(value) if isinstance(value, (list, tuple)) else list)
        return target(coerce(item, args[0]) if args else item for item in value)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        if not isinstance(value, collections.abc.Mapping):
            raise TypeError(f"{_show(value)} is not a dict")
        if len(args) != 2:
            return value
        return {coerce(key, args[0]): coerce(item, args[1]) for key, item in value.items()}
    if origin is type or origin is collections.abc.Callable:
        return value
    return value if not isinstance(origin, type) or isinstance(value, origin) else coerce(value, origin)


# JSON forms


def to_json(value: Any, depth: int = 0) -> Any:
    """A value as JSON, for showing; what JSON cannot hold becomes `"<ClassName>"`."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value if kind is not str else value.encode("utf-8", "replace").decode()
    if kind is float:
        return value if value == value and abs(value) != float("inf") else str(value)
    if depth > 50:
        return f"<{kind.__name__}>"
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item, depth + 1) for key, item in value.items()}
    for method in ("model_dump", "dict"):
        dump = getattr(value, method, None)
        if dump is not None and (hasattr(kind, "model_validate") or hasattr(kind, "parse_obj")):
            return to_json(dump(), depth + 1)
    if hasattr(kind, "__dataclass_fields__"):
        return {name: to_json(getattr(value, name, None), depth + 1) for name in kind.__dataclass_fields__}
    if isinstance(value, (bool, int, float, str)):
        return to_json(getattr(value, "value", None), depth + 1) if hasattr(kind, "__members__") else kind.__mro__[-2](value)
    if hasattr(kind, "__members__") and hasattr(value, "value"):  # an enum
        return to_json(value.value, depth + 1)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if kind.__module__ in ("uuid", "decimal") or kind.__module__.startswith("pathlib"):
        return str(value)
    return f"<{kind.__name__}>"


def serialise(bound: Mapping[str, Any]) -> Dict[str, Any]:
    """Parameters as the API stores them."""
    return {name: to_json(value) for name, value in bound.items()}


# JSON Schema


def schema(fn: Callable[..., Any], title: str = "Parameters") -> Dict[str, Any]:
    """JSON Schema of a flow's parameters, for forms and for checks before a run."""
    import inspect

    properties: Dict[str, Any] = {}
    required: List[str] = []
    more = False  # names beside those of the function
    hints = annotations(fn)
    for position, (name, parameter) in enumerate(inspect.signature(fn).parameters.items()):
        hint = hints.get(name)
        entry: Dict[str, Any]
        if parameter.kind is parameter.VAR_POSITIONAL:
            entry = {"type": "array", "items": _schema_of(hint)}
        elif parameter.kind is parameter.VAR_KEYWORD:
            entry, more = {"type": "object", "additionalProperties": _schema_of(hint) or True}, True
        else:
            entry = _schema_of(hint)
            if parameter.default is parameter.empty:
                required.append(name)
            else:
                entry["default"] = to_json(parameter.default)
        properties[name] = {"title": name, "position": position, **entry}
    found: Dict[str, Any] = {"title": title, "type": "object", "properties": properties, "required": required}
    if not more:
        found["additionalProperties"] = False
    for entry in properties.values():
        _hoist(entry, found)
    return found


def _hoist(entry: Any, root: Dict[str, Any]) -> None:
    """Moves what models define for themselves to the root of the schema: that is where their references point."""
    if not isinstance(entry, dict):
        return
    for key in ("$defs", "definitions"):
        for name, value in (entry.pop(key, None) or {}).items():
            _hoist(value, root)
            root.setdefault(key, {}).setdefault(name, value)
    inner = list((entry.get("properties") or {}).values()) + [entry.get("items"), entry.get("additionalProperties")]
    for key in ("anyOf", "allOf", "oneOf", "prefixItems"):
        inner += entry.get(key) or []
    for one in inner:
        _hoist(one, root)


_SIMPLE = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string"},
    dict: {"type": "object"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array", "uniqueItems": True},
    type(None): {"type": "null"},
}
_FORMATS = {"datetime": "date-time", "date": "date", "time": "time", "timedelta": "duration", "UUID": "uuid", "Path": "path"}


def _schema_of(hint: Any, depth: int = 0) -> Dict[str, Any]:
    if hint is None or depth > 8:
        return {}
    if isinstance(hint, type) and hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    import typing

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return {"anyOf": [_schema_of(option, depth + 1) for option in args]}
    if origin is typing.Literal:
        return {"enum": [to_json(option) for option in args]}
    if origin is tuple and args and args[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [_schema_of(item, depth + 1) for item in args], "minItems": len(args), "maxItems": len(args)}
    if isinstance(origin, type) and hasattr(origin, "keys"):
        return {"type": "object", "additionalProperties": _schema_of(args[1], depth + 1) if len(args) == 2 else True}
    if isinstance(origin, type) and hasattr(origin, "__iter__"):
        return {"type": "array", "items": _schema_of(args[0], depth + 1) if args else {}}
    if isinstance(hint, type):
        if hasattr(hint, "__members__"):
            return {"enum": [to_json(member) for member in hint]}  # type: ignore[attr-defined]
        for method in ("model_json_schema", "schema"):
            describe = getattr(hint, method, None)
            if describe is not None and (hasattr(hint, "model_validate") or hasattr(hint, "parse_obj")):
                try:
                    return dict(describe())
                except Exception:
                    return {"type": "object"}
        if hasattr(hint, "__dataclass_fields__"):
            fields = annotations_of_class(hint)
            return {"type": "object", "properties": {name: _schema_of(kind, depth + 1) for name, kind in fields.items()}}
        if hint.__name__ in _FORMATS:
            return {"type": "string", "format": _FORMATS[hint.__name__]}
        if hint.__name__ == "Decimal":
            return {"type": "number"}
    return {}
