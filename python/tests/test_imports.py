import os
import subprocess
import sys
import unittest

SDK = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


class Imports(unittest.TestCase):
    def loaded(self, code):
        """The modules that a bare interpreter has loaded after `code`, without site-packages."""
        program = f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{SDK!r}]\n{code}\nprint('\\n'.join(sys.modules))"
        done = subprocess.run([sys.executable, "-S", "-E", "-I", "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(done.stdout.split())

    def test_every_module_needs_the_standard_library_only(self):
        modules = []
        for folder, _, files in os.walk(os.path.join(SDK, "sluice")):
            for name in files:
                if name.endswith(".py"):
                    path = os.path.relpath(os.path.join(folder, name), SDK)[: -len(".py")]
                    modules.append(path.replace(os.sep, ".").replace(".__init__", ""))
        self.assertGreater(len(modules), 20)
        self.loaded("import " + ", ".join(modules))

    def test_what_a_flow_needs_to_start_leaves_slow_modules_alone(self):
        loaded = self.loaded("import sluice, sluice.runs, sluice.connection, sluice.engine, sluice.task_runners, sluice.loading, sluice.storage")
        slow = {"asyncio", "concurrent.futures", "dataclasses", "email", "http.client", "inspect", "logging", "multiprocessing", "pickle", "random",
                "ssl", "subprocess", "tempfile", "traceback", "typing", "urllib.request", "uuid", "hashlib", "tokenize"}  # fmt: skip
        self.assertEqual(loaded & slow, set())
