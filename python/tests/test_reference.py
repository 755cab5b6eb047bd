import os
import subprocess
import sys
import unittest

from tests.harness import SDK

PAGE = os.path.join(SDK, "..", "docs", "python-sdk-reference.md")
COMMAND = "PYTHONPATH=python python3 python/reference.py > docs/python-sdk-reference.md"


# inspect shows annotations differently from version to version; the page is made with the one named here or newer.
@unittest.skipIf(sys.version_info < (3, 11), "the page is made with Python 3.11 or newer")
class Reference(unittest.TestCase):
    def test_the_page_is_what_the_docstrings_say(self):
        made = subprocess.run([sys.executable, os.path.join(SDK, "reference.py")], env={**os.environ, "PYTHONPATH": SDK}, capture_output=True, text=True, timeout=60, check=True)
        with open(PAGE, encoding="utf-8") as file:
            self.assertTrue(file.read() == made.stdout, f"docs/python-sdk-reference.md is stale: {COMMAND}")

    def test_everything_on_it_has_a_docstring(self):
        made = subprocess.run(
            [sys.executable, "-c", "import reference, importlib; print([n for m, ns in reference.MODULES for n in ns if not getattr(importlib.import_module(m), n).__doc__])"],
            env={**os.environ, "PYTHONPATH": SDK}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        self.assertEqual(made.stdout.strip(), "[]")
