"""Plays the SDK's engine: reports under the lease as SCRIPT tells it.

SCRIPT holds steps separated by spaces: a state type to report, print:TEXT,
log (a line per variable the agent promises), wait (until killed), exit:CODE,
kill:SIGNAL, sleeper (a child that ignores SIGTERM).
"""
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

run = sys.argv[1]
api = os.environ["SLUICE_API_URL"]


def report(kind):
    body = json.dumps({"state": {"type": kind}}).encode()
    request = urllib.request.Request(
        f"{api}/flow_runs/{run}/set_state",
        body,
        {"Content-Type": "application/json", "X-Sluice-Lease": os.environ["SLUICE_LEASE_TOKEN"]},
    )
    return json.load(urllib.request.urlopen(request))


for step in os.environ.get("SCRIPT", "RUNNING COMPLETED").split():
    verb, _, rest = step.partition(":")
    if verb == "print":
        print(rest)
    elif verb == "log":
        for name in ("SLUICE_FLOW_RUN_ID", "PREFECT_API_URL", "PREFECT_API_KEY", "PYTHONUNBUFFERED", "SLUICE_ENGINE_CONSOLE", "MINE"):
            print(name, os.environ.get(name))
        print("cwd", os.getcwd())
    elif verb == "wait":
        time.sleep(3600)
    elif verb == "exit":
        sys.exit(int(rest))
    elif verb == "kill":
        os.kill(os.getpid(), getattr(signal, "SIG" + rest))
    elif verb == "sleeper":
        child = subprocess.Popen(["sh", "-c", "trap '' TERM HUP; echo pid $$; while :; do sleep 1; done"])
    else:
        report(verb)
