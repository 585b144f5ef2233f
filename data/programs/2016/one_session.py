"""Make a task for every request at once, behind a semaphore; one session serves them all.

Written from the description of 2016's client, for Python 3.5 and aiohttp 0.21. Call it with URL
REQUESTS LIMIT.
"""

import asyncio
import sys

from aiohttp import ClientSession


async def fetch(session, url, slots):
    async with slots:
        async with session.get(url) as response:
            return await response.read()


async def main(url, requests, limit):
    slots = asyncio.Semaphore(limit)
    async with ClientSession() as session:
        tasks = []
        for item in range(requests):
            task = asyncio.ensure_future(fetch(session, "{}/{}".format(url, item), slots))
            tasks.append(task)
        await asyncio.gather(*tasks)


loop = asyncio.get_event_loop()
loop.run_until_complete(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
