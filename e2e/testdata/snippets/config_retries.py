from sluice import flow, task


@task(retries=2, retry_delay_seconds=0)
def failure():
    print("running")
    raise ValueError("bad code")


@flow
def test_retries():
    return failure()


print(test_retries())
# running
# running
# running
# Failed('1/1 states failed.')
# (log) Created task run 'failure-acc38180-0' for task 'failure'
