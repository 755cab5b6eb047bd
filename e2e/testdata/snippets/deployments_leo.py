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

leonardo_dicapriflow("Leo")
# (log) Using task runner 'ConcurrentTaskRunner'
# (log) Created task run 'log_message-dd6ef374-0' for task 'log_message'
# (log) Task run 'log_message-dd6ef374-0' - Hello Leo!
# (log) Task run 'log_message-dd6ef374-0' - Finished in state Completed(None)
# (log) Finished in state Completed('All states completed.')
