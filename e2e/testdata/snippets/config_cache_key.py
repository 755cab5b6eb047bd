from sluice import flow, task


def cache_within_flow_run(context, parameters):
    print(parameters)
    return sum(parameters["nums"])  # a number, which becomes a text


@task(cache_key_fn=cache_within_flow_run)
def cached_task(nums):
    print("running an expensive operation")
    return sum(nums)


@flow
def test_caching(nums):
    return [cached_task(nums).result(), cached_task(nums).result()]


print(test_caching([2, 2]).result())
print(test_caching([1, 3]).result())
# {'nums': [2, 2]}
# running an expensive operation
# {'nums': [2, 2]}
# [4, 4]
# {'nums': [1, 3]}
# {'nums': [1, 3]}
# [4, 4]
# (log) Created task run 'cached_task-64beb460-3' for task 'cached_task'
