from sluice import flow, task


@task
def printer(obj):
    print(f"Received a {type(obj)} with value {obj}")


@flow
def validation_flow(x: int, y: str):
    printer(x).wait()
    printer(y).wait()


validation_flow(x="42", y=100)
# Received a <class 'int'> with value 42
# Received a <class 'str'> with value 100
