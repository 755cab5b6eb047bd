import re
import unittest

from sluice import names, task
from sluice.tasks import Task


class Keys(unittest.TestCase):
    def keys(self, module, name="log_message", **options):
        def fn(name):
            return None

        fn.__name__ = fn.__qualname__ = name
        fn.__module__ = module
        return Task(fn, **options).task_key[:8]

    def test_task_keys_are_those_of_the_tutorials(self):
        self.assertEqual(self.keys("__main__"), "dd6ef374")
        self.assertEqual(self.keys("<run_path>"), "718c3f46")
        for name, key in (("call_api", "190c7484"), ("parse_fact", "b0346046"), ("hello_task", "e97fb216"), ("cached_task", "64beb460"),
                          ("failure", "acc38180"), ("create_tables", "45cf78d2")):  # fmt: skip
            self.assertEqual(self.keys("__main__", name), key, name)

    def test_tags_and_name_are_part_of_the_key_whatever_the_order_of_tags(self):
        self.assertNotEqual(self.keys("__main__", tags=["a"]), "dd6ef374")
        self.assertEqual(self.keys("__main__", tags=["a", "b"]), self.keys("__main__", tags=["b", "a"]))

    def test_calls_are_numbered_per_task_object(self):
        one, two = task(lambda: None), task(lambda: None)
        self.assertEqual([one.next_dynamic_key(), one.next_dynamic_key(), two.next_dynamic_key()], ["0", "1", "0"])


class RandomNames(unittest.TestCase):
    def test_slugs_are_two_words_and_differ(self):
        found = {names.slug() for _ in range(200)}
        self.assertGreater(len(found), 150)
        for slug in found:
            self.assertRegex(slug, r"^[a-z]+-[a-z]+$")

    def test_ids_are_version_4_uuids(self):
        import uuid

        for _ in range(50):
            id = names.uuid4()
            self.assertEqual(str(uuid.UUID(id)), id)
            self.assertEqual(uuid.UUID(id).version, 4)

    def test_fingerprints_are_md5(self):
        import hashlib

        self.assertEqual(names.fingerprint(b"x"), hashlib.md5(b"x").hexdigest())

    def test_words_are_distinct(self):
        for words in (names.ADJECTIVES, names.ANIMALS):
            self.assertEqual(len(words), len(set(words)))
            self.assertFalse([word for word in words if not re.fullmatch("[a-z]+", word)])
