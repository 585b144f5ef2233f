"""Give the requests to pypeln, with as many workers as there may be in flight.

Written from the description of 2024's client, for Python 3.11, aiohttp 3.9 and pypeln 0.4.9. Call
it with URL REQUESTS LIMIT.
"""

import asyncio
import sys

import pypeln
from aiohttp import ClientSession, TCPConnector


async def main(url, requests, limit):
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def fetch(address):
            async with session.get(address) as response:
                return await response.read()

        urls = (f"{url}/{item}" for item in range(requests))
        await pypeln.task.each(fetch, urls, workers=limit)


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
