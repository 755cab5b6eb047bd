import asyncio

from sluice import flow, task


@task
async def print_values(values):
    for value in values:
        await asyncio.sleep(0.02)
        print(value)


@flow
async def async_flow():
    await print_values([1, 2])
    await asyncio.gather(print_values("abcd"), print_values(range(6, 9)))


print(asyncio.run(async_flow()))
# 1
# 2
# a
# b
# c
# d
# 6
# 7
# 8
# Completed('All states completed.')
