import sqlite3

from sluice import flow, task
from sluice.task_runners import SequentialTaskRunner


@task
def create_tables(connection):
    connection.execute("CREATE TABLE projects (name TEXT)")


@task
def add_project(connection, project):
    if project == 2:
        raise ValueError("no such project")
    connection.execute("INSERT INTO projects VALUES (?)", (str(project),))


@flow(name="Add Projects to DB", task_runner=SequentialTaskRunner())
def add_projects(database):
    connection = sqlite3.connect(database, check_same_thread=False)
    create_tables(connection)
    for project in (1, 2, 3):
        add_project(connection, project)


state = add_projects(":memory:")
print(state)
print([one.name for one in state.result(raise_on_failure=False)])
# Failed('1/4 states failed.')
# ['Completed', 'Completed', 'Failed', 'Completed']
# (log) Created task run 'create_tables-45cf78d2-0' for task 'create_tables'
