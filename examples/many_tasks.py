"""Many small tasks in one flow, with what they take: python3 examples/many_tasks.py 1000"""
import resource
import sys
import time

from sluice import flow, task


@task
def nothing(number):
    return None


@flow
def many_tasks(count: int):
    nothing.map(range(count))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    began = time.monotonic()
    state = many_tasks(count)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{state}: {count} tasks in {time.monotonic() - began:.1f} s, {time.process_time():.1f} s of it the processor's; {memory:.0f} MiB at most")
