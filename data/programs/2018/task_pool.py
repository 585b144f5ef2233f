"""Make a task only when there is room for it: a semaphore is taken before, released when it ends.

Written from the description of 2018's client, for Python 3.6 and aiohttp 3. Call it with URL
REQUESTS LIMIT.
"""

import asyncio
import sys

from aiohttp import ClientSession, TCPConnector


class TaskPool:
    """Tasks that run, `limit` at most: `put` waits for room, `join` for the last of them."""

    def __init__(self, limit):
        self.slots = asyncio.Semaphore(limit)
        self.tasks = set()

    async def put(self, work):
        await self.slots.acquire()
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.tasks.remove(task)
        self.slots.release()

    async def join(self):
        await asyncio.gather(*self.tasks)


async def fetch(session, url):
    async with session.get(url) as response:
        return await response.read()


async def main(url, requests, limit):
    async with ClientSession(connector=TCPConnector(limit=None)) as session:
        pool = TaskPool(limit)
        for item in range(requests):
            await pool.put(fetch(session, "{}/{}".format(url, item)))
        await pool.join()


loop = asyncio.get_event_loop()
loop.run_until_complete(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
