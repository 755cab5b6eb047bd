import json
import os
import subprocess
import sys
import tempfile
import unittest

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples")
SDK = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
FLOW = "from sluice import flow\n@flow\ndef greet(name: str, count: int = 1): ...\n"


class Describing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        self.write("greet.py", FLOW)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def run_module(self, *arguments, text=""):
        done = subprocess.run(
            [sys.executable, "-m", "sluice.deployments", "--json", *arguments], input=text, capture_output=True, text=True, cwd=self.folder, timeout=60,
            env={**os.environ, "PYTHONPATH": SDK},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def describe(self, body, head="from sluice.deployments import DeploymentSpec\n"):
        return self.run_module(self.write("spec.py", head + body))[0]

    def error_of(self, body, **kwargs):
        answer = self.describe(body, **kwargs)
        return answer["specs"][0]["error"]

    def test_the_tutorials_file_gives_two_deployments(self):
        answer, _ = self.run_module(os.path.join(EXAMPLES, "leo_deployment.py"))
        self.assertIsNone(answer["error"])
        leo, marvin = answer["specs"]
        self.assertEqual((leo["name"], leo["flow_name"], leo["tags"], leo["parameters"]), ("leonardo-deployment", "leonardo_dicapriflow", ["tutorial", "test"], {"name": "Leo"}))
        self.assertEqual(leo["flow_runner"], {"type": "universal", "config": {"env": {}}})
        self.assertEqual(marvin["flow_runner"], {"type": "subprocess", "config": {"env": {}, "stream_output": True, "condaenv": None, "virtualenv": None}})
        self.assertIsNone(leo["schedule"])
        self.assertEqual(leo["parameter_schema"]["required"], ["name"])
        with open(os.path.join(EXAMPLES, "leo_flow.py"), encoding="utf-8") as file:
            self.assertEqual(leo["flow_text"], file.read())
        self.assertIsNone(leo["error"])

    def test_output_of_user_code_does_not_get_into_the_answer(self):
        answer, shown = self.run_module(
            self.write("spec.py", "import os\nprint('from python')\nos.system('echo from a child')\nfrom sluice.deployments import DeploymentSpec\nDeploymentSpec('d', flow_location='greet.py')\n")
        )
        self.assertEqual(len(answer["specs"]), 1)
        self.assertIn("from python", shown)
        self.assertIn("from a child", shown)

    def test_each_wrong_specification_is_reported_with_its_line_beside_the_right_ones(self):
        answer = self.describe(
            "DeploymentSpec('a', flow_location='./x.py')\n"
            "DeploymentSpec('b', flow_location='greet.py', schedule={'cron': '* *'})\n"
            "DeploymentSpec('c', flow_location='greet.py')\n"
        )
        wrong_location, wrong_schedule, right = answer["specs"]
        self.assertEqual(
            wrong_location["error"],
            {"message": f"flow_location './x.py' does not exist (looked for {self.folder}/x.py)", "file": f"{self.folder}/spec.py", "line": 2},
        )
        self.assertIn("has 2 fields", wrong_schedule["error"]["message"])
        self.assertEqual(wrong_schedule["error"]["line"], 3)
        self.assertIsNone(right["error"])

    def test_what_is_wrong_is_said(self):
        self.write("two.py", "from sluice import flow\n@flow\ndef a(): ...\n@flow\ndef b(): ...\n")
        self.write("none.py", "x = 1\n")
        self.write("calls.py", FLOW + "greet('Leo')\n")
        self.write("broken.py", "x = 1\ny = (\n")
        for body, words in (
            ("'d'", "flow_location is missing"),
            ("'d', flow_location='two.py'", "several flows ('a', 'b'): choose one with flow_name"),
            ("'d', flow_location='two.py', flow_name='c'", "no flow 'c'"),
            ("'d', flow_location='none.py'", "defines no flow"),
            ("'d', flow_location='calls.py'", "comment out line 4"),
            ("'d', flow_location='broken.py'", "SyntaxError"),
            ("'d', flow_location='.'", "is a directory"),
            ("'a/b', flow_location='greet.py'", "contains '/'"),
            ("'d', flow_location='greet.py', tags='tutorial'", "tags must be a list"),
            ("'d', flow_location='greet.py', parameters={'nam': 1}", "'nam': not a parameter of flow 'greet'; it has name, count"),
            ("'d', flow_location='greet.py', parameters={'count': 'many'}", "'many' is not an integer"),
            ("'d', flow_location='greet.py', parameters={'name': object()}", "type object cannot be stored as JSON"),
            ("'d', flow_location='greet.py', flow_runner='boat'", "'boat' is none of universal, subprocess, docker, kubernetes"),
            ("'d', flow_location='greet.py', schedule={'interval': 0}", "longer than zero"),
            ("'d', flow_location='greet.py', schedule={'interval': 5, 'cron': '* * * * *'}", "exactly one of"),
            ("'d', flow_location='greet.py', schedule={'cron': '* * * * *', 'timezone': 'Mars/Olympus'}", "Mars/Olympus"),
            ("'d', flow_location='greet.py', catchup='sometimes'", "skip, latest or all"),
            ("'d', flow_location='greet.py', concurrency_limit=-1", "concurrency_limit must be a whole number from 0"),
            ("'d', flow_location='greet.py', concurrency_limit=True", "concurrency_limit must be a whole number"),
            ("'d', flow_location='greet.py', on_conflict='wait'", "on_conflict must be one of queue, skip, cancel-running"),
            ("'d', flow_location='greet.py', overlap='never'", "overlap must be one of allow, queue, skip, cancel-running"),
            ("'d', flow_location='greet.py', dst={'summer': 1}", "dst must be a mapping with skipped and repeated"),
            ("'d', flow_location='greet.py', on_crash='twice'", "on_crash must be a mapping with retries and delay_seconds"),
            ("'d', flow_location='greet.py', on_crash={'retries': 101}", "on_crash.retries must be a whole number from 0 to 100"),
            ("'d', flow_location='greet.py', queue_timeout_seconds=0", "queue_timeout_seconds must be a timedelta or a number of seconds above zero"),
            ("'d', flow_location='greet.py', run_timeout_seconds='2h'", "run_timeout_seconds must be a timedelta"),
            ("'d', flow_location='greet.py', priority=0", "priority must be a whole number from 1 to 1000"),
            ("'d', flow_location='greet.py', retention={'all': {}}", "retention must be a mapping with runs and logs"),
            ("'d', flow_location='greet.py', retention={'runs': {'max_count': -1}}", "retention.runs.max_count must be a whole number"),
            ("'d', flow_location='greet.py', schedules={'cron': '@daily'}", "schedules must be a list"),
            ("'d', flow_location='greet.py', schedules=[{'name': 'n'}]", "exactly one of interval, cron and rrule"),
            ("'d', flow_location='greet.py', schedules=[{'interval': 1, 'active': 'no'}]", "active of a schedule must be True or False"),
            ("'d', flow_location='greet.py', schedules=[{'interval': 1, 'name': 'n'}, {'interval': 2, 'name': 'n'}]", "two schedules are called 'n'"),
            ("'d', flow_location='greet.py', schedule={'interval': 1}, schedules=[]", "both schedule and schedules"),
        ):  # fmt: skip
            with self.subTest(body):
                self.assertIn(words, self.error_of(f"DeploymentSpec({body})\n")["message"])

    def test_errors_of_flow_files_are_placed_there(self):
        self.write("calls.py", FLOW + "greet('Leo')\n")
        error = self.error_of("DeploymentSpec('d', flow_location='calls.py')\n")
        self.assertEqual((error["file"], error["line"]), (f"{self.folder}/calls.py", 4))

    def test_a_file_that_cannot_be_read_is_an_error_with_its_line(self):
        for text, line, words in (("x = (\n", 1, "SyntaxError"), ("\n1 / 0\n", 2, "ZeroDivisionError"), ("", None, "holds no deployment")):
            error = self.run_module(self.write("spec.py", text))[0]["error"]
            self.assertEqual((error["file"], error["line"]), (f"{self.folder}/spec.py", line))
            self.assertIn(words, error["message"])
        self.assertIn("does not exist", self.run_module("missing.py")[0]["error"]["message"])

    def test_specifications_before_a_mistake_are_still_reported(self):
        answer = self.describe("DeploymentSpec('a', flow_location='greet.py')\nboom\n")
        self.assertEqual(answer["error"]["line"], 3)
        self.assertEqual([spec["name"] for spec in answer["specs"]], ["a"])

    def test_of_one_name_the_last_counts_and_the_flows_name_is_the_default(self):
        answer = self.describe(
            "DeploymentSpec('d', flow_location='greet.py', tags=['old'])\n"
            "DeploymentSpec('d', flow_location='greet.py', tags=['new', 'new'])\n"
            "DeploymentSpec(flow_location='greet.py')\n"
        )
        self.assertEqual([(spec["name"], spec["tags"]) for spec in answer["specs"]], [("d", ["new"]), ("greet", [])])

    def test_a_flow_object_and_specification_in_one_file_work(self):
        answer = self.describe(FLOW + "DeploymentSpec('d', flow=greet, parameters={'name': 'x'})\n")
        (spec,) = answer["specs"]
        self.assertEqual((spec["flow_name"], spec["flow_location"], spec["error"]), ("greet", "spec.py", None))

    def test_schedules_are_described_as_the_api_takes_them(self):
        head = "from datetime import timedelta\nfrom sluice.deployments import DeploymentSpec\nfrom sluice.orion.schemas.schedules import *\n"
        for code, expected in (
            ("IntervalSchedule(interval=timedelta(minutes=5))", {"interval": 300.0, "timezone": None}),
            ("IntervalSchedule(60, '2026-01-01T00:00:00Z')", {"interval": 60.0, "timezone": None, "anchor_date": "2026-01-01T00:00:00+00:00"}),
            ("CronSchedule('0 9 * * 1-5', timezone='Europe/Berlin')", {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "day_or": True}),
            ("RRuleSchedule('FREQ=DAILY')", {"rrule": "FREQ=DAILY", "timezone": "UTC"}),
            ("{'interval': 'PT15M'}", {"interval": 900.0, "timezone": None}),
        ):
            with self.subTest(code):
                answer = self.describe(f"DeploymentSpec('d', flow_location='greet.py', schedule={code})\n", head=head)
                self.assertEqual(answer["specs"][0]["schedule"], expected)

    def test_policies_retention_and_schedules_are_described_as_the_api_takes_them(self):
        head = "from datetime import timedelta\nfrom sluice.deployments import DeploymentSpec\nfrom sluice.orion.schemas.schedules import *\n"
        answer = self.describe(
            "DeploymentSpec('d', flow_location='greet.py', concurrency_limit=1, on_conflict='skip', overlap='queue', dst={'repeated': 'both'}, on_crash=2,\n"
            "  queue_timeout_seconds=timedelta(minutes=5), run_timeout_seconds=60, priority=3,\n"
            "  retention={'runs': {'max_age': timedelta(days=7), 'max_count': None}, 'logs': {'max_age': '36h'}},\n"
            "  schedules=[CronSchedule('0 3 * * *'), {'interval': 60, 'name': 'often', 'active': False}])\n",
            head=head,
        )
        (spec,) = answer["specs"]
        self.assertIsNone(spec["error"])
        self.assertEqual(
            spec["policy"],
            {
                "concurrency_limit": 1, "on_conflict": "skip", "overlap": "queue", "dst": {"skipped": "shift", "repeated": "both"},
                "on_crash": {"retries": 2, "delay_seconds": 0.0}, "queue_timeout_seconds": 300.0, "run_timeout_seconds": 60.0, "priority": 3,
            },
        )  # fmt: skip
        self.assertEqual(spec["retention"], {"runs": {"max_age": 604800, "max_count": 0}, "logs": {"max_age": "36h"}})
        self.assertEqual(
            spec["schedules"],
            [
                {"schedule": {"cron": "0 3 * * *", "timezone": None, "day_or": True}},
                {"name": "often", "active": False, "schedule": {"interval": 60.0, "timezone": None}},
            ],
        )

    def test_specifications_come_as_json_too(self):
        specs = [
            {"name": "d", "flow_location": "greet.py", "tags": ["a"], "schedule": {"interval": 60}, "flow_runner": {"type": "subprocess"}, "file": "x.yaml", "line": 3},
            {"name": "", "flow_location": "greet.py", "flow_runner": None},
            {"name": "e", "flow_location": "greet.py", "colour": "red", "file": "x.yaml", "line": 9},
        ]
        answer, _ = self.run_module("--specs", "-", "--base", self.folder, text=json.dumps(specs))
        first, second, third = answer["specs"]
        self.assertEqual((first["error"], first["schedule"], first["flow_runner"]["type"]), (None, {"interval": 60.0, "timezone": None}, "subprocess"))
        self.assertEqual(second["name"], "greet")
        self.assertEqual(third["error"], {"message": "unknown fields: colour", "file": "x.yaml", "line": 9})
        for text in ("{", '{"a": 1}', "[1]"):
            self.assertIsNotNone(self.run_module("--specs", "-", text=text)[0]["error"])
