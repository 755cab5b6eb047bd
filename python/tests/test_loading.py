import os
import sys
import tempfile
import unittest

from sluice import loading
from sluice.errors import FlowCalledWhileLoading, FlowLoadError

LEO = '''from sluice import flow, task, get_run_logger

@task
def log_message(name):
    get_run_logger().info(f"Hello {name}!")

@flow(name="leonardo_dicapriflow")
def leonardo_dicapriflow(name: str):
    log_message(name)
'''


class Loading(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        path = list(sys.path)
        self.addCleanup(lambda: sys.path.__setitem__(slice(None), path))

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_flows_and_tasks_get_the_names_of_deployments(self):
        (flow,) = loading.execute(self.write("leo_flow.py", LEO))
        self.assertEqual((flow.name, flow.fn.__module__), ("leonardo_dicapriflow", "<run_path>"))
        self.assertEqual(flow.fn.__globals__["log_message"].task_key[:8], "718c3f46")
        self.assertTrue(flow.fn.__globals__["__file__"].endswith("leo_flow.py"))

    def test_stored_text_runs_under_its_files_name(self):
        flow = loading.load(LEO, "some/where/leo_flow.py", "leonardo_dicapriflow")
        path = flow.fn.__code__.co_filename
        self.assertEqual(os.path.basename(path), "leo_flow.py")
        self.assertTrue(os.path.isfile(path))

    def test_a_call_at_module_level_is_refused_with_its_line(self):
        path = self.write("leo_flow.py", LEO + '\nleonardo_dicapriflow("Leo")\n')
        with self.assertRaises(FlowCalledWhileLoading) as caught:
            loading.execute(path)
        self.assertEqual((caught.exception.file, caught.exception.line), ("leo_flow.py", 11))
        self.assertIn('`leonardo_dicapriflow("Leo")`', str(caught.exception))
        self.assertIn("comment out line 11", str(caught.exception))
        self.assertIn('if __name__ == "__main__":', str(caught.exception))

    def test_a_call_in_a_function_is_blamed_on_the_line_at_module_level(self):
        path = self.write("f.py", LEO + '\ndef main():\n    leonardo_dicapriflow("Leo")\n\nmain()\n')
        with self.assertRaises(FlowCalledWhileLoading) as caught:
            loading.execute(path)
        self.assertEqual(caught.exception.line, 14)

    def test_a_guarded_call_is_not_made(self):
        loading.execute(self.write("f.py", LEO + '\nif __name__ == "__main__":\n    leonardo_dicapriflow("Leo")\n'))

    def test_what_is_wrong_with_a_file_is_said_with_its_line(self):
        for text, line, words in (
            ("x = 1\ny = (\n", 2, "SyntaxError"),
            ("import no_such_module_here\n", 1, "no_such_module_here"),
            ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError"),
            ("raise SystemExit(3)\n", None, "exit status 3"),
            ("x = '\0'\n", None, "null bytes"),
        ):
            with self.subTest(words), self.assertRaises(FlowLoadError) as caught:
                loading.execute(self.write("f.py", text))
            if words == "null bytes" and sys.version_info >= (3, 12):
                continue  # a SyntaxError there
            self.assertEqual(caught.exception.line, line)
            self.assertIn(words, str(caught.exception))
            self.assertIn("f.py", str(caught.exception))

    def test_modules_beside_the_file_are_found_and_their_flows_not_counted(self):
        self.write("neighbour_of_flow.py", "from sluice import flow\n@flow\ndef helper(): ...\n")
        self.addCleanup(sys.modules.pop, "neighbour_of_flow", None)
        (flow,) = loading.execute(self.write("f.py", "from neighbour_of_flow import helper\n" + LEO))
        self.assertEqual(flow.name, "leonardo_dicapriflow")

    def test_the_flow_is_chosen_by_name(self):
        flows = loading.execute(self.write("f.py", "from sluice import flow\n@flow\ndef a(): ...\n@flow\ndef b(): ...\n"))
        self.assertEqual(loading.select(flows, "b", "f.py").name, "b")
        for name, chosen, words in ((None, flows, "several flows ('a', 'b')"), ("c", flows, "no flow 'c'; it defines 'a', 'b'"), (None, [], "defines no flow")):
            with self.assertRaises(FlowLoadError) as caught:
                loading.select(chosen, name, "f.py")
            self.assertIn(words, str(caught.exception))

    def test_flow_names_follow_the_rules(self):
        from sluice import flow

        def my_favorite_function(): ...

        self.assertEqual(flow(my_favorite_function).name, "my-favorite-function")
        with self.assertRaisesRegex(ValueError, "'/'"):
            flow(name="a/b")(my_favorite_function)
