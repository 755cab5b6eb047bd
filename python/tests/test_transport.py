import socket
import unittest

from sluice.errors import ApiError, ConfigurationError, ServerUnavailable
from sluice.transport import Address, OutcomeUnknown, Transport
from tests.faults import DROP, FaultyServer, answer, script


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Addresses(unittest.TestCase):
    def test_an_address_is_split_into_host_port_and_path(self):
        for url, host, port, path, secure in (
            ("http://127.0.0.1:4200/api", "127.0.0.1", 4200, "/api", False),
            ("https://sluice.example/api/", "sluice.example", 443, "/api", True),
            ("http://[::1]:4200/api", "::1", 4200, "/api", False),
            ("http://node", "node", 80, "/api", False),
            ("http://node/", "node", 80, "/api", False),
        ):
            with self.subTest(url):
                found = Address(url)
                self.assertEqual((found.host, found.port, found.path, found.secure), (host, port, path, secure))

    def test_what_is_no_address_is_refused_with_a_hint(self):
        for url in ("127.0.0.1:4200", "ftp://x/api", "http://:1/api", "http://host:port/api"):
            with self.subTest(url), self.assertRaisesRegex(ConfigurationError, "SLUICE_API_URL"):
                Address(url)


class Requests(unittest.TestCase):
    def transport(self, *urls, seconds=30.0, **options):
        made = Transport(list(urls), retry_seconds=seconds, **options)
        self.addCleanup(made.close)
        return made

    def server(self, *steps):
        made = FaultyServer(script(*steps))
        self.addCleanup(made.close)
        return made

    def test_one_connection_serves_many_requests(self):
        server = self.server(answer(200, {"a": 1}))
        transport = self.transport(server.url)
        for _ in range(5):
            self.assertEqual(transport.request("POST", "/x", {"b": "ä"}).json(), {"a": 1})
        self.assertEqual({request.connection for request in server.requests}, {0})
        self.assertEqual(server.requests[0].json(), {"b": "ä"})
        self.assertEqual(server.requests[0].path, "/api/x")

    def test_the_answer_to_a_request_that_was_not_read_to_its_end_is_seen(self):
        server = FaultyServer(script(answer(200)), body_limit=1000)
        self.addCleanup(server.close)
        with self.assertRaises(ApiError) as caught:
            self.transport(server.url).request("POST", "/x", "x" * 20_000_000)
        self.assertEqual((caught.exception.status, server.refused), (413, 1))

    def test_bodies_are_utf_8_unless_only_escapes_can_write_them(self):
        server = self.server(answer(200))
        transport = self.transport(server.url)
        transport.request("POST", "/x", {"b": "ä😀"})
        transport.request("POST", "/x", {"b": "ä\udc80"})
        self.assertEqual([request.body for request in server.requests], ['{"b":"ä😀"}'.encode(), b'{"b":"\\u00e4\\udc80"}'])

    def test_chunked_and_unframed_answers_are_read(self):
        server = self.server(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2;x=y\r\n2]\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[3]",
        )
        transport = self.transport(server.url)
        self.assertEqual(transport.request("GET", "/").json(), [1, 2])
        self.assertEqual(transport.request("GET", "/").json(), [3])

    def test_an_empty_answer_leaves_the_connection_usable(self):
        server = self.server(b"HTTP/1.1 204 No Content\r\n\r\n", answer(200, 1))
        transport = self.transport(server.url)
        self.assertIsNone(transport.request("PATCH", "/", {}).json())
        self.assertEqual(transport.request("GET", "/").json(), 1)
        self.assertEqual([request.connection for request in server.requests], [0, 0])

    def test_an_idle_connection_that_the_server_closed_is_replaced(self):
        server = self.server(answer(200, 1), DROP, answer(200, 2))
        transport = self.transport(server.url)
        transport.request("GET", "/")
        reply = transport.request("GET", "/")
        self.assertEqual(reply.json(), 2)
        self.assertTrue(reply.repeated)

    def test_dropped_answers_and_unavailable_servers_are_tried_again(self):
        unavailable = answer(503, {"detail": "no leader", "kind": "unavailable"}, "Retry-After: 0\r\n")
        server = self.server(DROP, unavailable, b"garbage\r\n\r\n", answer(200, "done"))
        self.assertEqual(self.transport(server.url).request("POST", "/", 1).json(), "done")
        self.assertEqual(len(server.requests), 4)

    def test_an_answer_that_says_not_done_is_not_taken_for_unsure(self):
        server = self.server(answer(503, {"kind": "unavailable"}, "Retry-After: 0\r\n"), answer(200, 1))
        reply = self.transport(server.url).request("POST", "/", 1, stop_when_unsure=True)
        self.assertFalse(reply.repeated)

    def test_unknown_outcomes_and_lost_answers_stop_a_caller_that_wants_to_look(self):
        for step in (DROP, answer(503, {"kind": "unknown_outcome"}), answer(504)):
            server = self.server(step)
            with self.subTest(step), self.assertRaises(OutcomeUnknown):
                self.transport(server.url).request("POST", "/", 1, stop_when_unsure=True)
            self.assertEqual(len(server.requests), 1)

    def test_another_address_is_used_when_one_does_not_answer(self):
        server = self.server(answer(200, 1))
        transport = self.transport(f"http://127.0.0.1:{free_port()}/api", server.url)
        self.assertEqual(transport.request("GET", "/", stop_when_unsure=True).json(), 1)
        self.assertEqual(transport.request("GET", "/").json(), 1)

    def test_a_server_that_closes_with_its_answer_is_left_for_another_address(self):
        leaving, other = self.server(answer(200, 1, "Connection: close\r\n")), self.server(answer(200, 2))
        transport = self.transport(leaving.url, other.url)
        self.assertEqual([transport.request("GET", "/").json() for _ in range(3)], [1, 2, 2])

    def test_a_server_that_comes_back_gets_the_request(self):
        port = free_port()
        revived = []

        def revive(message):
            self.assertIn("does not answer", message)
            server = FaultyServer.__new__(FaultyServer)
            original = socket.create_server
            try:
                socket.create_server = lambda _: original(("127.0.0.1", port))
                server.__init__(script(answer(200, "back")))
            finally:
                socket.create_server = original
            revived.append(server)
            self.addCleanup(server.close)

        transport = self.transport(f"http://127.0.0.1:{port}/api", on_outage=revive)
        self.assertEqual(transport.request("POST", "/", {}).json(), "back")
        self.assertEqual(len(revived), 1)

    def test_nobody_there_is_an_error_with_address_and_hint(self):
        url = f"http://127.0.0.1:{free_port()}/api"
        with self.assertRaises(ServerUnavailable) as caught:
            self.transport(url, seconds=0).request("GET", "/")
        self.assertIn(url, str(caught.exception))
        self.assertIn("sluice server start", str(caught.exception))

    def test_a_retired_transport_neither_repeats_nor_looks_for_another_server(self):
        asked = []
        transport = self.transport(f"http://127.0.0.1:{free_port()}/api", relocate=lambda: asked.append(1) or ["http://127.0.0.1:1/api"])
        transport.retire()
        with self.assertRaisesRegex(ServerUnavailable, "told to end"):
            transport.request("GET", "/x")
        self.assertEqual(asked, [])

    def test_a_moved_server_is_looked_for(self):
        server = self.server(answer(200, 1))
        transport = self.transport(f"http://127.0.0.1:{free_port()}/api", relocate=lambda: [server.url])
        self.assertEqual(transport.request("GET", "/").json(), 1)

    def test_refusals_are_errors_with_the_servers_words(self):
        server = self.server(
            answer(409, {"detail": "taken", "kind": "conflict", "hint": "wait", "request_id": "r-1"}),
            answer(404, {"message": "Block not found"}),
            answer(422, {"exception_message": "Invalid request received.", "exception_detail": [{"loc": ["body", "name"]}]}),
            answer(500),
        )
        transport = self.transport(server.url)
        with self.assertRaises(ApiError) as caught:
            transport.request("GET", "/")
        self.assertEqual((caught.exception.status, caught.exception.kind), (409, "conflict"))
        self.assertEqual(str(caught.exception), "taken (wait) [request r-1]")
        for text in ("Block not found", "name", "500"):
            with self.assertRaisesRegex(ApiError, text):
                transport.request("GET", "/")
        self.assertEqual(len(server.requests), 4)

    def test_token_and_headers_are_sent(self):
        server = self.server(answer(200, 1))
        self.transport(server.url, token="secret").request("POST", "/", {}, {"X-Sluice-Lease": "t"})
        self.assertEqual(server.requests[0].headers["authorization"], "Bearer secret")
        self.assertEqual(server.requests[0].headers["x-sluice-lease"], "t")
