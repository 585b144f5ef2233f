"""Give the requests to pypeln, with as many workers as there may be in flight.

Written from the description of 2018's client, for Python 3.6, aiohttp 3 and pypeln 0.1. Call it
with URL REQUESTS LIMIT.
"""

import sys

from aiohttp import ClientSession, TCPConnector
from pypeln import asyncio_task


async def opened():
    return ClientSession(connector=TCPConnector(limit=None))


async def closed(_, session):
    await session.close()


async def fetch(url, session):
    async with session.get(url) as response:
        return await response.read()


url, requests, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
urls = ("{}/{}".format(url, item) for item in range(requests))
asyncio_task.each(fetch, urls, workers=limit, on_start=opened, on_done=closed, run=True)
