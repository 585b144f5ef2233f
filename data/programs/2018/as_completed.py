"""Poll a list of running tasks on each turn of the loop, and start one for each that has ended.

Written from the description of 2018's client, for Python 3.6 and aiohttp 3. Call it with URL
REQUESTS LIMIT.
"""

import asyncio
import sys
from itertools import islice

from aiohttp import ClientSession, TCPConnector


async def fetch(session, url):
    async with session.get(url) as response:
        return await response.read()


async def next_done(running, waiting):
    while True:
        await asyncio.sleep(0)  # the polling that takes a whole core
        for task in running:
            if task.done():
                running.remove(task)
                running.extend(map(asyncio.ensure_future, islice(waiting, 1)))
                return task.result()


async def main(url, requests, limit):
    async with ClientSession(connector=TCPConnector(limit=None)) as session:
        waiting = (fetch(session, "{}/{}".format(url, item)) for item in range(requests))
        running = [asyncio.ensure_future(one) for one in islice(waiting, limit)]
        while running:
            await next_done(running, waiting)


loop = asyncio.get_event_loop()
loop.run_until_complete(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
