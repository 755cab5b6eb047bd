import json
import os
import tempfile
import unittest
from unittest import mock

from sluice import relay, results, storage
from sluice.client import Client
from sluice.errors import StorageError
from sluice.transport import Transport
from tests.faults import FaultyServer, answer


def block(kind, data):
    return {"id": "b-1", "name": "bucket", "data": data, "block_spec": {"name": kind}}


class Blocks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        patch = mock.patch.object(tempfile, "tempdir", self.folder)
        patch.start()
        self.addCleanup(patch.stop)
        self.values, self.block = {}, None
        server = FaultyServer(self.serve)
        self.addCleanup(server.close)
        self.url = server.url
        self.client = Client(Transport([server.url], retry_seconds=5))
        self.addCleanup(self.client.transport.close)

    def serve(self, request):
        kind, _, key = request.path[len("/api/") :].partition("/")
        if kind == "blocks":
            return answer(200, self.block)
        if request.method == "POST":
            self.values[key] = request.json()
            return answer(201)
        return answer(200, self.values[key]) if key in self.values else answer(404, {"detail": "Not Found"})

    def test_text_comes_back_through_every_storage_that_can_be_used(self):
        for made in (
            block("File Storage", {"base_path": self.folder, "key_type": "hash"}),
            block("File Storage", {"base_path": "file://" + self.folder, "key_type": "uuid"}),
            block("File Storage", {"base_path": self.folder, "key_type": "timestamp"}),
            block("Local Storage", {"storage_path": self.folder}),
            block("Temporary Local Storage", {}),
            block("KV Server Storage", {"api_address": self.url + "/kv"}),
        ):
            with self.subTest(made["block_spec"]["name"], data=made["data"]):
                self.block = made
                reference = storage.write(made, "text ä", self.client)
                self.assertEqual(reference["encoding"], "blockstorage")
                inner = json.loads(reference["blob"])
                self.assertEqual(inner["block_id"], "b-1")
                self.assertIsInstance(json.loads(inner["data"]), str)
                self.assertEqual(storage.read(reference, self.client), "text ä")

    def test_the_address_of_a_kv_server_is_taken_as_it_is(self):
        seen = []
        server = FaultyServer(lambda request: seen.append(request.path) or answer(201))
        self.addCleanup(server.close)
        storage.write(block("KV Server Storage", {"api_address": server.url[: -len("/api")]}), "x", self.client)
        self.assertRegex(seen[0], "^/[0-9a-f-]{36}$")

    def test_files_by_hash_are_named_by_content(self):
        made = block("File Storage", {"base_path": self.folder, "key_type": "hash"})
        self.assertEqual(storage.write(made, "x", self.client), storage.write(made, "x", self.client))
        self.assertEqual(os.listdir(self.folder), ["9dd4e461268c8034f5c8564e155c67a6"])

    def test_storages_of_unknown_types_are_refused_by_name(self):
        self.block = block("Attic Storage", {})
        with self.assertRaisesRegex(StorageError, "'bucket' is of type 'Attic Storage'.*built-in store"):
            storage.write(self.block, "x", self.client)
        with self.assertRaisesRegex(StorageError, "Attic Storage"):
            storage.read({"encoding": "blockstorage", "blob": json.dumps({"data": '"k"', "block_id": "b-1"})}, self.client)
        with self.assertRaisesRegex(StorageError, "on a path only"):
            storage.write(block("File Storage", {"base_path": "s3://bucket"}), "x", self.client)

    def test_what_is_gone_is_an_error_that_names_it(self):
        self.block = block("File Storage", {"base_path": self.folder})
        for reference, words in (
            ({"encoding": "blockstorage", "blob": json.dumps({"data": '"gone"', "block_id": "b-1"})}, "gone"),
            ({"encoding": "sluice-store", "blob": "missing"}, "no entry 'missing'"),
            ({"encoding": "cloudpickle", "blob": ""}, "cloudpickle"),
        ):
            with self.assertRaisesRegex(StorageError, words):
                storage.read(reference, self.client)

    def test_results_go_where_they_belong(self):
        made = self.block = block("File Storage", {"base_path": self.folder, "key_type": "hash"})
        self.assertEqual(results.store(7, self.client, None), {"encoding": "json", "blob": "7"})
        large = results.store("x" * 5000, self.client, None)
        self.assertEqual(large["encoding"], "sluice-store")
        self.assertEqual(results.load(large, self.client), "x" * 5000)
        kept = results.store((1, 2), self.client, made)
        self.assertEqual(kept["encoding"], "blockstorage")
        self.assertEqual(results.load(kept, self.client), (1, 2))
        self.assertEqual(results.store(None, self.client, made), {"encoding": "json", "blob": "null"})


class Relayed(unittest.TestCase):
    """Storages in a cloud are used through the endpoint that the environment names."""

    def setUp(self):
        self.stored, self.asked, self.refusal = {}, [], None
        endpoint = FaultyServer(self.serve)
        self.addCleanup(endpoint.close)
        patch = mock.patch.dict(os.environ, {relay.URL: endpoint.url[: -len("/api")] + "/storages", relay.TOKEN: "let-me-in"})
        patch.start()
        self.addCleanup(patch.stop)
        forget = mock.patch.object(relay, "_found", None)
        forget.start()
        self.addCleanup(forget.stop)
        self.addCleanup(lambda: relay._found and relay._found[1].close())
        self.block = None
        server = FaultyServer(lambda request: answer(200, self.block))
        self.addCleanup(server.close)
        self.client = Client(Transport([server.url], retry_seconds=5))
        self.addCleanup(self.client.transport.close)

    def serve(self, request):
        self.asked.append((request.method, request.path, request.headers.get("authorization")))
        if self.refusal:
            return self.refusal
        if request.method == "POST":
            self.stored["results/ä 1"] = request.body
            return answer(201, {"key": "results/ä 1"})
        return answer(200, json.loads(self.stored["results/ä 1"]))

    def test_text_goes_there_and_comes_back_by_block_and_key(self):
        for kind in ("S3 Storage", "Azure Blob Storage", "Google Cloud Storage", "KV Server Storage"):
            with self.subTest(kind):
                self.block, self.asked[:] = block(kind, {"aws_secret_access_key": "********"}), []
                reference = storage.write(self.block, '{"a": 1}', self.client)
                self.assertEqual(json.loads(storage.read(reference, self.client)), {"a": 1})
                self.assertEqual(
                    self.asked,
                    [("POST", "/storages/b-1", "Bearer let-me-in"), ("GET", "/storages/b-1?key=results%2F%C3%A4%201", "Bearer let-me-in")],
                )

    def test_what_the_endpoint_says_is_the_error(self):
        self.refusal = answer(404, {"detail": "there is no object k", "kind": "not_found", "hint": "somebody deleted it"})
        with self.assertRaisesRegex(StorageError, "there is no object k .*somebody deleted it"):
            storage.write(block("S3 Storage", {}), "x", self.client)

    def test_without_agent_and_binary_it_says_what_is_missing(self):
        with mock.patch.dict(os.environ, {relay.URL: "", "SLUICE_BINARY": "/nowhere/sluice"}):
            with self.assertRaisesRegex(StorageError, "through the `sluice` binary.*SLUICE_BINARY"):
                storage.write(block("S3 Storage", {}), "x", self.client)
