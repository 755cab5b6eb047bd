import asyncio

from sluice import flow, task


@task
async def call_api(url):
    await asyncio.sleep(0.01)
    return 200


@flow
async def async_flow(url):
    response = await call_api(url)
    return await response.result()


print(asyncio.run(async_flow("http://example.org")).result())
# 200
