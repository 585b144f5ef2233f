"""Serve an echo on one loop in one style, call it on 10 connections, print the messages a second.

Written from the description of 2016's benchmark, for Python 3.5 and uvloop 0.6. Call it with STYLE
(sockets, streams, protocol), LOOP (asyncio, uvloop), BYTES and MESSAGES. The server has the core
that the program was started on, and who calls it the others. Then 10 processes called, on as many
cores; one that waits for the answers of all needs no more than one core.
"""

import asyncio
import os
import signal
import socket
import sys
import time

CONNECTIONS, BUFFER = 10, 102400


async def sockets(loop, listener):
    while True:
        client, _ = await loop.sock_accept(listener)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.create_task(echo(loop, client))


async def echo(loop, client):
    with client:
        while True:
            data = await loop.sock_recv(client, BUFFER)
            if not data:
                break
            await loop.sock_sendall(client, data)


async def streams(reader, writer):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        data = await reader.readline()
        if not data:
            break
        writer.write(data)
    writer.close()


class Echo(asyncio.Protocol):
    """Write back what comes."""

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.transport.write(data)


def serve(style, loop, listener):
    if style == "sockets":
        listener.setblocking(False)
        loop.create_task(sockets(loop, listener))
    elif style == "streams":
        loop.run_until_complete(
            asyncio.start_server(streams, sock=listener, limit=2 * BUFFER, loop=loop)
        )
    else:
        loop.run_until_complete(loop.create_server(Echo, sock=listener))
    loop.run_forever()


def call(address, message, rounds):
    """Send a message on each connection, wait for the answers of all, and again."""
    others = set(range(os.cpu_count())) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(0, others)
    servers = [socket.create_connection(address) for _ in range(CONNECTIONS)]
    for server in servers:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    started = time.perf_counter()
    for _ in range(rounds):
        for server in servers:
            server.sendall(message)
        for server in servers:
            missing = len(message)
            while missing:
                missing -= len(server.recv(BUFFER))
    return time.perf_counter() - started


style, name, size, messages = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(CONNECTIONS)
pid = os.fork()
if not pid:
    if name == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    serve(style, loop, listener)
try:
    rounds = messages // CONNECTIONS
    taken = call(listener.getsockname(), b"x" * (size - 1) + b"\n", rounds)
finally:
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
print("{} requests in {:.3f}s".format(rounds * CONNECTIONS, taken))
print("Requests/sec: {:.1f}".format(rounds * CONNECTIONS / taken))
