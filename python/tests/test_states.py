import pickle
import unittest

from sluice import results
from sluice.errors import MissingResult
from sluice.states import Cancelled, Completed, Failed, Pending, Running, Scheduled, State, aggregate, as_states


class Texts(unittest.TestCase):
    def test_states_read_as_in_log_lines(self):
        for state, text in (
            (Completed(), "Completed(None)"),
            (Completed("All states completed."), "Completed('All states completed.')"),
            (State("COMPLETED", "Cached"), "Cached(None, type=COMPLETED)"),
            (Failed("Flow run encountered an exception."), "Failed('Flow run encountered an exception.')"),
            (State("FAILED", "Crashed", "x"), "Crashed('x', type=FAILED)"),
        ):
            self.assertEqual(str(state), text)
        self.assertEqual(repr(Completed("m", data=3)), "Completed(message='m', type=COMPLETED, result=3)")

    def test_each_constructor_makes_its_type(self):
        for made, check in ((Completed(), "completed"), (Failed(), "failed"), (Cancelled(), "cancelled"), (Pending(), "pending"),
                            (Running(), "running"), (Scheduled(), "scheduled")):  # fmt: skip
            for kind in ("completed", "failed", "cancelled", "pending", "running", "scheduled"):
                self.assertEqual(getattr(made, f"is_{kind}")(), kind == check, (made, kind))
        self.assertTrue(Failed().is_final() and not Running().is_final())
        with self.assertRaises(ValueError):
            State("RESTING")


class Results(unittest.TestCase):
    def test_a_failed_state_raises_its_exception_or_gives_it(self):
        error = KeyError("x")
        with self.assertRaises(KeyError) as caught:
            Failed(data=error).result()
        self.assertIs(caught.exception, error)
        self.assertIs(Failed(data=error).result(raise_on_failure=False), error)

    def test_the_first_failed_of_several_states_is_raised(self):
        states = [Completed(data=1), Failed(data=ValueError("first")), Failed(data=KeyError("second"))]
        with self.assertRaisesRegex(ValueError, "first"):
            Failed(data=states).result()
        with self.assertRaisesRegex(ValueError, "first"):
            Failed(data=states[1]).result()

    def test_a_failure_that_is_no_exception_is_a_type_error(self):
        with self.assertRaises(TypeError):
            Failed(data=5).result()
        with self.assertRaises(MissingResult):
            Failed().result()

    def test_results_survive_pickling_as_stored_or_as_they_are(self):
        stored = State("COMPLETED", data=results.encode([1, 2]), id="i", result=[1, 2])
        for state in (stored, Completed(data={"a": 1})):
            copy = pickle.loads(pickle.dumps(state))
            self.assertEqual((copy, copy.result()), (state, state.result()))

    def test_values_come_back_from_their_documents(self):
        for value, encoding in ((None, "json"), ({"a": [1, 2.5, "ä", True]}, "json"), ((1, 2), "pickle"), ({1: 2}, "pickle"),
                                (float("inf"), "pickle"), (2**70, "pickle"), ("\ud800", "pickle"), (b"x", "pickle")):  # fmt: skip
            document = results.encode(value)
            self.assertEqual(document["encoding"], encoding, value)
            self.assertEqual(results.decode(document), value)
            self.assertIs(type(results.decode(document)), type(value))

    def test_an_unknown_encoding_is_named(self):
        with self.assertRaisesRegex(MissingResult, "'zip'"):
            results.decode({"encoding": "zip", "blob": ""})


class Aggregates(unittest.TestCase):
    def test_the_final_state_follows_from_those_of_the_tasks(self):
        good, bad, waiting = Completed(), Failed(), Pending(name="NotReady")
        for states, text in (
            ([good, good], "Completed('All states completed.')"),
            ([good, bad, good, waiting], "Failed('1/4 states failed.')"),
            ([good, waiting], "Failed('1/2 states are not final.')"),
            ([good, Cancelled()], "Failed('1/2 states failed.')"),
        ):
            final = aggregate(states, states)
            self.assertEqual(str(final), text)
            self.assertIs(final.result(raise_on_failure=False), states)

    def test_only_states_and_collections_of_them_are_aggregated(self):
        state = Completed()
        self.assertEqual(as_states(state), [state])
        self.assertEqual(as_states((state, state)), [state, state])
        for other in (None, [], [state, 1], {"a": state}, "text"):
            self.assertIsNone(as_states(other))
