"""Make a task for every request at once, behind a semaphore; each task opens its own session.

Written from the description of 2016's client, for Python 3.5 and aiohttp 0.21. Call it with URL
REQUESTS LIMIT.
"""

import asyncio
import sys

from aiohttp import ClientSession


async def fetch(url, slots):
    async with slots:
        async with ClientSession() as session:
            async with session.get(url) as response:
                return await response.read()


async def main(url, requests, limit):
    slots = asyncio.Semaphore(limit)
    tasks = []
    for item in range(requests):
        tasks.append(asyncio.ensure_future(fetch("{}/{}".format(url, item), slots)))
    await asyncio.gather(*tasks)


loop = asyncio.get_event_loop()
loop.run_until_complete(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
