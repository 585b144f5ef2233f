"""Make a task only when there is room for it: pypeln's `TaskPool` counts those that run.

Written from the description of 2018's client, for Python 3.6, aiohttp 3 and pypeln 0.1. Call it
with URL REQUESTS LIMIT.
"""

import asyncio
import sys

from aiohttp import ClientSession, TCPConnector
from pypeln import TaskPool


async def fetch(session, url):
    async with session.get(url) as response:
        return await response.read()


async def main(url, requests, limit):
    async with ClientSession(connector=TCPConnector(limit=None)) as session:
        async with TaskPool(limit) as pool:
            for item in range(requests):
                await pool.put(fetch(session, "{}/{}".format(url, item)))


loop = asyncio.get_event_loop()
loop.run_until_complete(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
