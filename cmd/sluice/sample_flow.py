from sluice import flow, get_run_logger, task


@task
def greet(name):
    get_run_logger().info(f"Hello {name}!")


@flow(name="hello")
def hello(name: str = "World"):
    greet(name)
