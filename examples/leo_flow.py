from sluice import flow, task, get_run_logger


@task
def log_message(name):
    logger = get_run_logger()
    logger.info(f"Hello {name}!")
    return


@flow(name="leonardo_dicapriflow")
def leonardo_dicapriflow(name: str):
    log_message(name)
    return


# To run the flow as a script (`python leo_flow.py`), remove the "# " before the call. A deployment calls the flow
# itself, so for `sluice deployment create leo_deployment.py` the call must stay a comment, or stand below
# `if __name__ == "__main__":`, which serves both.
# leonardo_dicapriflow("Leo")
