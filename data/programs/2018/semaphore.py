"""Make a task for every request at once; a semaphore bounds how many of them are in flight.

Written from the description of 2018's client, for Python 3.6 and aiohttp 3. Call it with URL
REQUESTS LIMIT.
"""

import asyncio
import sys

from aiohttp import ClientSession, TCPConnector


async def fetch(session, url, slots):
    async with slots:
        async with session.get(url) as response:
            return await response.read()


async def main(url, requests, limit):
    slots = asyncio.Semaphore(limit)
    async with ClientSession(connector=TCPConnector(limit=None)) as session:
        tasks = []
        for item in range(requests):
            task = asyncio.ensure_future(fetch(session, "{}/{}".format(url, item), slots))
            tasks.append(task)
        await asyncio.gather(*tasks)


loop = asyncio.get_event_loop()
loop.run_until_complete(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
