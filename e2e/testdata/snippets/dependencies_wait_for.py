from sluice import flow, task


@task
def create_tables():
    raise ValueError("no database")


@task
def add_project(project):
    print("never")


@flow
def add_projects():
    table_task = create_tables()
    return [add_project(project, wait_for=[table_task]) for project in (1, 2)]


state = add_projects()
print(state)
print([one.name for one in state.result(raise_on_failure=False)])
# Failed('2/2 states are not final.')
# ['NotReady', 'NotReady']
