import os
from datetime import timedelta

from sluice import flow, task
from sluice.tasks import task_input_hash


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(minutes=1))
def hello_task(name_input, place):
    print("Saying hello")
    return "hello " + name_input


@flow
def hello_flow(name_input):
    print(hello_task(name_input, os.environ["SNIPPET_PLACE"]).wait())


hello_flow("Marvin")
hello_flow("Marvin")
# Saying hello
# Completed(None)
# Cached(None, type=COMPLETED)
# (log) Created task run 'hello_task-e97fb216-0' for task 'hello_task'
# (log) Created task run 'hello_task-e97fb216-1' for task 'hello_task'
