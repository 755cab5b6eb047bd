import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import typing
import unittest
import uuid

from sluice import parameters
from sluice.errors import ParameterError
from sluice.parameters import bind, call_arguments, coerce, schema, to_json, validate


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: "float" = 0.0


class Binding(unittest.TestCase):
    def test_plain_functions_are_bound_as_inspect_does(self):
        import inspect

        def a(x, y=2, *rest, key, other=5, **more): ...
        def b(x, /, y): ...
        def c(): ...
        def d(*rest): ...
        def e(*, key): ...

        calls = [((1,), {"key": 3}), ((1, 2, 3, 4), {"key": 5, "z": 6}), ((), {}), ((1,), {}), ((1, 2), {}), ((1,), {"x": 2}),
                 ((1,), {"y": 2}), ((), {"key": 1}), ((), {"x": 1, "key": 2}), ((1, 2, 3), {})]  # fmt: skip
        for fn in (a, b, c, d, e):
            for args, kwargs in calls:
                with self.subTest(fn=fn.__name__, args=args, kwargs=kwargs):
                    try:
                        expected = inspect.signature(fn).bind(*args, **kwargs)
                        expected.apply_defaults()
                    except TypeError:
                        with self.assertRaises(ParameterError):
                            bind(fn, args, kwargs)
                        continue
                    bound = bind(fn, args, kwargs)
                    self.assertEqual(bound, dict(expected.arguments))
                    self.assertEqual(call_arguments(fn, bound), (expected.args, expected.kwargs))

    def test_stored_parameters_come_by_name_and_variadic_ones_under_theirs(self):
        def fn(x, *rest, **more): ...

        self.assertEqual(parameters.from_stored(fn, {"x": 1, "rest": [2], "more": {"k": 3}}), {"x": 1, "rest": (2,), "more": {"k": 3}})

    def test_a_wrong_call_names_function_and_argument(self):
        def greet(name: str): ...

        with self.assertRaisesRegex(ParameterError, r"greet\(name: str\): missing a required argument: 'name'"):
            bind(greet, (), {})


class Coercion(unittest.TestCase):
    def test_values_are_converted_to_their_annotation(self):
        day = datetime.date(2026, 1, 2)
        for value, hint, expected in (
            ("42", int, 42), (100, str, "100"), ("1.5", float, 1.5), (1, float, 1.0), ("yes", bool, True), (0, bool, False),
            ("2026-01-02", datetime.date, day), ("2026-01-02T03:04:05Z", datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)),
            ("2026-01-02T03:04:05", datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5)),
            (90, datetime.timedelta, datetime.timedelta(seconds=90)), ("PT15M", datetime.timedelta, datetime.timedelta(minutes=15)),
            ("01:30:00", datetime.timedelta, datetime.timedelta(minutes=90)), ("/tmp", pathlib.Path, pathlib.Path("/tmp")),
            ("12345678-1234-4234-8234-123456789012", uuid.UUID, uuid.UUID("12345678-1234-4234-8234-123456789012")),
            ("red", Colour, Colour.RED), ({"x": "3"}, Point, Point(3)), (None, typing.Optional[int], None), ("3", typing.Optional[int], 3),
            ("x", typing.Union[int, str], "x"), ("5", typing.Union[int, str], 5), (5, typing.Union[str, int], "5"),
            ([("k", 1)], dict, {"k": 1}), (decimal.Decimal("1.50"), str, "1.50"), (86400, datetime.date, datetime.date(1970, 1, 2)), (["1"], typing.List[int], [1]), ({"a": "1"}, typing.Dict[str, int], {"a": 1}),
            (["1", 2], typing.Tuple[int, str], (1, "2")), ((1, 2), typing.Tuple[int, ...], (1, 2)), ("a", typing.Literal["a", "b"], "a"),
            (["1"], "list", None), (object, typing.Any, object), ([1], list, [1]), ((1,), list, [1]), ({"k": 1}, dict, {"k": 1}),
        ):  # fmt: skip
            if isinstance(hint, str):
                continue
            with self.subTest(value=value, hint=hint):
                self.assertEqual(coerce(value, hint), expected)
                self.assertIs(type(coerce(value, hint)), type(expected))

    def test_what_does_not_fit_is_refused_with_the_value(self):
        for value, hint in (("abc", int), (None, str), ("maybe", bool), ("x", float), ([1], str), ("x", typing.List[int]), (["x"], typing.List[int]),
                            ("c", typing.Literal["a", "b"]), ("blue", Colour), ({"x": "no"}, Point), ([1], typing.Tuple[int, int]), (1, dict),
                            ("later", datetime.datetime), ("x", uuid.UUID), (3, Point)):  # fmt: skip
            with self.subTest(value=value, hint=hint), self.assertRaises((TypeError, ValueError)):
                coerce(value, hint)

    def test_every_wrong_parameter_is_named(self):
        def fn(x: int, y: float, z: "NoSuchName" = None, *rest: int): ...  # noqa: F821

        with self.assertRaisesRegex(ParameterError, r"x: 'a' is not an integer; y: 'b' is not a number"):
            validate(fn, {"x": "a", "y": "b", "z": 1, "rest": ()})
        self.assertEqual(validate(fn, {"x": "1", "y": 2, "z": 1, "rest": ("3",)}), {"x": 1, "y": 2.0, "z": 1, "rest": (3,)})

    def test_a_default_of_none_allows_none(self):
        def fn(x: int = None, *, y: str = None, z: int = 1): ...

        self.assertEqual(validate(fn, bind(fn, (), {})), {"x": None, "y": None, "z": 1})
        self.assertEqual(validate(fn, bind(fn, ("1",), {"y": 2})), {"x": 1, "y": "2", "z": 1})
        with self.assertRaisesRegex(ParameterError, "z: None is not an integer"):
            validate(fn, bind(fn, (), {"z": None}))

    def test_models_get_primitives_as_version_1_of_pydantic_would_convert_them(self):
        class Model:
            a: int
            c: str

            @classmethod
            def model_validate(cls, value):
                if not isinstance(value["c"], str):
                    raise ValueError("c must be text")
                made = cls()
                made.__dict__.update(value)
                return made

        made = coerce({"a": "1", "c": 55}, Model)
        self.assertEqual((made.a, made.c), (1, "55"))


class Forms(unittest.TestCase):
    def test_anything_has_a_json_form(self):
        class Connection: ...

        value = {"a": (1, {2}), 3: Point(1), "c": Colour.RED, "d": datetime.date(2026, 1, 2), "e": Connection(), "f": float("nan"), "g": pathlib.PurePosixPath("/x")}
        found = to_json(value)
        json.dumps(found, allow_nan=False)
        self.assertEqual(found, {"a": [1, [2]], "3": {"x": 1, "y": 0.0}, "c": "red", "d": "2026-01-02", "e": "<Connection>", "f": "nan", "g": "/x"})

    def test_the_schema_tells_types_defaults_and_what_is_required(self):
        def fn(name: str, count: int = 3, when: datetime.date = None, kind: typing.Literal["a"] = "a", *rest: int, **more): ...

        found = schema(fn)
        self.assertEqual(found["required"], ["name"])
        self.assertEqual(found["properties"]["name"], {"title": "name", "position": 0, "type": "string"})
        self.assertEqual(found["properties"]["count"]["default"], 3)
        self.assertEqual(found["properties"]["when"]["format"], "date")
        self.assertEqual(found["properties"]["rest"]["items"], {"type": "integer"})
        json.dumps(found, allow_nan=False)
        self.assertNotIn("additionalProperties", found)

    def test_the_schema_of_a_closed_function_takes_no_other_names(self):
        def fn(name: str): ...

        self.assertIs(schema(fn)["additionalProperties"], False)

    def test_what_models_define_lies_where_they_refer_to(self):
        class Model:
            @classmethod
            def model_json_schema(cls):
                return {"$defs": {"Page": {"type": "string"}}, "type": "object", "properties": {"page": {"$ref": "#/$defs/Page"}}}

            model_validate = None

        def fn(one: Model, many: typing.List[Model]): ...

        found = schema(fn)
        self.assertEqual(found["$defs"], {"Page": {"type": "string"}})
        self.assertNotIn("$defs", found["properties"]["many"]["items"])
