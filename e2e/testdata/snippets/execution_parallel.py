from sluice import flow, task
from sluice.task_runners import DaskTaskRunner


@task
def print_values(values):
    return [value * 2 for value in values]


@flow(task_runner=DaskTaskRunner())
def my_flow():
    one, two = print_values(["a"] * 3), print_values([1, 2])
    return [one.result(), two.result()]


if __name__ == "__main__":
    print(my_flow().result())
# [['aa', 'aa', 'aa'], [2, 4]]
