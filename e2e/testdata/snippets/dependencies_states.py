import random
import time

from sluice import flow, task
from sluice.task_runners import DaskTaskRunner


@task
def long_sleep():
    time.sleep(4)
    return random.random() / 2 + 0.5


@task
def fail():
    raise ValueError("on purpose")


@flow(task_runner=DaskTaskRunner())
def states():
    sleeping = long_sleep()
    deadline = time.monotonic() + 60
    while sleeping.get_state().is_pending() and time.monotonic() < deadline:
        time.sleep(0.05)
    print(sleeping.get_state().is_running())
    print(sleeping.wait().result() > 0.4)
    print(type(fail().wait().result(raise_on_failure=False)).__name__)
    return "done"


if __name__ == "__main__":
    print(states().result())
# True
# True
# ValueError
# done
