import contextlib
import io
import re
import threading
import unittest

from sluice import logs
from sluice.client import Client
from sluice.transport import Transport
from tests.faults import DROP, FaultyServer, answer, script


def line(number):
    return {"name": "sluice.flow_runs", "level": 20, "message": str(number), "timestamp": "t", "flow_run_id": "f", "task_run_id": None}


class Delivery(unittest.TestCase):
    def shipper(self, handler, body_limit=None):
        server = FaultyServer(handler, body_limit)
        self.addCleanup(server.close)
        client = Client(Transport([server.url], retry_seconds=5))
        self.addCleanup(client.transport.close)
        return server, logs.LogShipper(client)

    def test_lines_arrive_in_order_in_numbered_batches(self):
        server, shipper = self.shipper(script(answer(201)))
        for number in range(2500):
            shipper.add(line(number))
        self.assertTrue(shipper.close(30))
        arrived = [entry["message"] for request in server.requests for entry in request.json()]
        self.assertEqual(arrived, [str(number) for number in range(2500)])
        self.assertEqual([int(request.headers["x-sluice-log-sequence"]) for request in server.requests], list(range(1, len(server.requests) + 1)))
        self.assertEqual(len({request.headers["x-sluice-log-producer"] for request in server.requests}), 1)

    def test_a_batch_whose_answer_was_lost_is_sent_again_under_its_number(self):
        server, shipper = self.shipper(script(DROP, DROP, answer(201)))
        shipper.add(line(1))
        self.assertTrue(shipper.flush(30))
        shipper.add(line(2))
        self.assertTrue(shipper.close(30))
        self.assertEqual([request.headers["x-sluice-log-sequence"] for request in server.requests], ["1", "1", "1", "2"])
        self.assertEqual({request.body for request in server.requests[:3]}, {server.requests[0].body})

    def test_the_writer_does_not_wait_while_the_server_holds_a_batch(self):
        release = threading.Event()

        def hold(request):
            release.wait(30)
            return answer(201)

        server, shipper = self.shipper(hold)
        shipper.add(line(0))
        self.assertFalse(shipper.flush(0.01))
        for number in range(1, 100):
            shipper.add(line(number))  # returns although nothing was delivered yet
        release.set()
        self.assertTrue(shipper.close(30))
        self.assertEqual(sum(len(request.json()) for request in server.requests), 100)

    def test_lines_that_the_server_refuses_are_not_sent_again(self):
        server, shipper = self.shipper(script(answer(413, {"detail": "too large"}), answer(201)))
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            shipper.add(line(1))
            self.assertTrue(shipper.flush(30))
            shipper.add(line(2))
            self.assertTrue(shipper.close(30))
        self.assertEqual(len(server.requests), 2)
        self.assertIn("too large", shown.getvalue())

    def test_long_lines_of_any_script_fit_the_limit_of_the_server(self):
        server, shipper = self.shipper(script(answer(201)), 8 << 20)
        logger = logs.RunLogger("sluice.flow_runs", "t", shipper, "id")
        texts = ["😀" * 249_000, "ä" * 499_000, "\x00" * 160_000] * 4
        with contextlib.redirect_stderr(io.StringIO()):
            for text in texts:
                logger.info(text)
            self.assertTrue(shipper.close(30))
        self.assertEqual(server.refused, 0)
        self.assertEqual([entry["message"] for request in server.requests for entry in request.json()], texts)
        self.assertLess(max(len(request.body) for request in server.requests), 1 << 20)

    def test_a_line_is_cut_where_its_json_gets_too_long(self):
        server, shipper = self.shipper(script(answer(201)))
        logger = logs.RunLogger("sluice.flow_runs", "t", shipper, "id")
        marker = " [cut: longer than 1 MB]"
        with contextlib.redirect_stderr(io.StringIO()):
            for character in ("x", "😀", "\x00", "\udc80"):
                logger.info(character * 2_000_000)
            self.assertTrue(shipper.close(30))
        self.assertLess(max(len(request.body) for request in server.requests), 1 << 20)
        messages = [entry["message"] for request in server.requests for entry in request.json()]
        quotes = 2
        self.assertEqual(
            [(message[0], message.count(message[0]), message.endswith(marker)) for message in messages[1:]],
            [("😀", (1_000_000 - quotes) // 4, True), ("\x00", (1_000_000 - quotes) // 6, True), ("?", 1_000_000 - quotes, True)],
        )
        self.assertEqual(messages[0], "x" * (1_000_000 - quotes) + marker)

    def test_a_batch_that_is_too_large_is_sent_in_parts(self):
        server, shipper = self.shipper(script(answer(201)), 200_000)
        texts = [f"{number}" + "x" * 90_000 for number in range(7)]
        texts.insert(3, "y" * 250_000)  # never fits
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            for text in texts:
                shipper.add(line(text))
            self.assertTrue(shipper.close(30))
        self.assertGreater(server.refused, 1)
        arrived = [entry["message"] for request in server.requests for entry in request.json()]
        self.assertEqual(arrived, [text for text in texts if text[0] != "y"])
        numbers = [int(request.headers["x-sluice-log-sequence"]) for request in server.requests]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertIn("refused 1 log lines, which are lost", shown.getvalue())

    def test_closing_gives_up_after_its_time(self):
        _, shipper = self.shipper(script(answer(503, {"kind": "unavailable"}, "Retry-After: 0\r\n")))
        with contextlib.redirect_stderr(io.StringIO()):
            shipper.add(line(1))
            thread = shipper._thread
            self.assertFalse(shipper.close(0.05))
            thread.join()

    def test_a_full_buffer_drops_new_lines_and_says_how_many(self):
        release, arrived = threading.Event(), threading.Event()

        def hold(request):
            arrived.set()
            release.wait(30)
            return answer(201)

        limit, logs.BUFFER_BYTES = logs.BUFFER_BYTES, 1000
        self.addCleanup(setattr, logs, "BUFFER_BYTES", limit)
        server, shipper = self.shipper(hold)
        shipper.add(line(0))
        shipper.flush(0)
        arrived.wait(30)
        for number in range(1, 20):
            shipper.add(line(number))
        release.set()
        shipper.flush(30)
        shipper.add(line(99))
        self.assertTrue(shipper.close(30))
        messages = [entry["message"] for request in server.requests for entry in request.json()]
        self.assertEqual(messages[0], "0")
        self.assertEqual(messages[-1], "99")
        self.assertRegex(messages[-2], r"^1\d log lines were dropped")


class Console(unittest.TestCase):
    def logged(self, call):
        logger = logs.RunLogger("sluice.flow_runs", "Flow run 'certain-cormorant'", None, "id")
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            call(logger)
        return shown.getvalue()

    def test_a_line_has_time_level_run_and_message(self):
        text = self.logged(lambda logger: logger.info("Hello %s!", "Leo"))
        self.assertRegex(text, r"^\d\d:\d\d:\d\d\.\d\d\d \| INFO    \| Flow run 'certain-cormorant' - Hello Leo!\n$")

    def test_levels_are_padded_and_filtered(self):
        self.assertIn("| WARNING | ", self.logged(lambda logger: logger.warning("x")))
        self.assertIn("| ERROR   | ", self.logged(lambda logger: logger.error("x")))
        self.assertEqual("", self.logged(lambda logger: logger.debug("x")))

    def test_a_wrong_format_is_logged_and_not_raised(self):
        self.assertIn("malformed", self.logged(lambda logger: logger.info("%d", "x")))
        self.assertIn("100% sure", self.logged(lambda logger: logger.info("100% sure")))
        self.assertIn("a is 1", self.logged(lambda logger: logger.info("a is %(a)d", {"a": 1})))

    def test_exceptions_are_shown_with_their_traceback(self):
        def call(logger):
            try:
                raise ValueError("inside")
            except ValueError:
                logger.exception("It failed:")

        text = self.logged(call)
        self.assertTrue(re.search(r"It failed:\nTraceback .*\n(.*\n)+ValueError: inside", text), text)

    def test_a_closed_console_does_not_fail_the_run(self):
        closed = io.StringIO()
        closed.close()
        with contextlib.redirect_stderr(closed):
            logs.console("INFO", "sluice.engine", "text")

    def test_there_is_no_logger_outside_of_a_run(self):
        with self.assertRaisesRegex(RuntimeError, "get_run_logger"):
            logs.get_run_logger()
