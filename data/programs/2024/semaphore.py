"""Make a task for every request at once; a semaphore bounds how many of them are in flight.

Written from the description of 2024's client, for Python 3.11 and aiohttp 3.9. Call it with URL
REQUESTS LIMIT.
"""

import asyncio
import sys

from aiohttp import ClientSession, TCPConnector


async def fetch(session, url, slots):
    async with slots, session.get(url) as response:
        return await response.read()


async def main(url, requests, limit):
    slots = asyncio.Semaphore(limit)
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        await asyncio.gather(*(fetch(session, f"{url}/{item}", slots) for item in range(requests)))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
