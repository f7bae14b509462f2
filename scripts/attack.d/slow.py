"""Attacks by those who are slow, or say nothing any more."""

import asyncio
import os
import secrets
import socket
import sys
import time

from drives import BATCH, BYTES
from target import Target
from wire import head

TCP_REPAIR = 19
HEAD = 15 << 10
SENT = 0.5  # seconds until all that was sent has been acknowledged


async def trickle(connection, target):
    """A byte a second, until the server has had enough; what it says then is noted."""
    async def send():
        while True:
            await connection.send(b"[")
            await asyncio.sleep(1)

    sending = asyncio.create_task(send())
    try:
        target.saw(await connection.answer())
    finally:
        sending.cancel()
        connection.close()


def slow_bodies(routes):
    """An attack on routes, each with its count, method, path, media type and length, by so many accounts and addresses as `spread` says."""
    async def attack(target, spread=1):
        ways = [way for way in routes for _ in range(target.some(way[0]))]
        uploads = {number: await begin_upload(target, number) for number in range(spread)} if any(way[2] is None for way in ways) else {}

        async def work(number):
            _, method, path, media_type, length = ways[number % len(ways)]
            who = number % spread
            connection = await target.connect(who)
            headers = [target.bearer(who), ("content-type", media_type)]
            await connection.send(head(method, path or uploads[who], headers, length))
            await trickle(connection, target)

        await target.many(len(ways), work)

    return attack


async def begin_upload(target, who):
    """The path of a chunk that is missing."""
    digest = secrets.token_hex(32)
    init = {"digest": digest, "size": 4 << 20, "chunks": [digest]}
    begun = (await target.client(who, who).expect("POST", "/file/multipart/init", init)).json()
    return f"{'/on/' + begun['host'] if begun.get('host') else ''}/file/multipart/{begun['upload_id']}/0"


BATCHES = (16, "POST", "/file/batch", BATCH, 8 << 20)
COMMITS = (16, "POST", "/fs/commit", "application/json", 8 << 20)
LISTS = (16, "POST", "/file/known", "application/json", 8 << 20)
UPLOADS = (100, "POST", "/file/upload?path=/slow", BYTES, 8 << 20)
CHUNKS = (100, "PUT", None, BYTES, 4 << 20)

slow_batches = slow_bodies([BATCHES])
slow_lists = slow_bodies([COMMITS, LISTS])
slow_uploads = slow_bodies([UPLOADS])
slow_chunks = slow_bodies([CHUNKS])


async def slow_from_several(target):
    await slow_bodies([BATCHES, COMMITS, LISTS, UPLOADS, CHUNKS])(target, spread=len(target.accounts))


async def slow_heads(target):
    text = head("GET", "/healthz", [(f"x-{number}", "y" * 1000) for number in range(HEAD // 1000)])[:-4]

    async def work(number):
        connection = await target.connect(number % 50)
        try:
            await connection.send(text)
            # Ends when the server does.
            while await connection.reader.read(4096):
                pass
        finally:
            connection.close()

    await target.many(target.some(1000), work)


async def idle(target):
    async def work(number):
        connection = await target.connect(number % 50)
        try:
            while await connection.reader.read(4096):
                pass
        finally:
            connection.close()

    await target.many(target.some(2000), work)


def slow_readers(paths_of):
    async def attack(target):
        paths = await paths_of(target)

        async def work(number):
            path, owner = paths[number % len(paths)]
            connection = await target.connect(number % 50, receive_buffer=4096)
            try:
                await connection.send(head("GET", path, [target.bearer(owner)]))
                while await connection.reader.read(1024):
                    await asyncio.sleep(1)
            finally:
                connection.close()

        await target.many(target.some(100), work)

    return attack


async def large_downloads(target):
    uploaded = await target.client(1).expect("POST", "/file/upload?path=/large", os.urandom(int((32 << 20) * target.scale)), BYTES)
    return [(f"/file/download?digest={uploaded.json()['state']['content']['digest']}&through=server", 1)]


async def long_lists(target):
    # The crowd is the drive of the first account.
    return [(f"/fs/list/{target.crowd}", 0), ("/fs/changes?since=0&limit=10000", 0)]


slow_downloads = slow_readers(large_downloads)
slow_listings = slow_readers(long_lists)


def vanish(of):
    """Ends a connection without a word to the other side; false when only somebody with CAP_NET_ADMIN may."""
    try:
        of.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:
        return False
    of.close()
    return True


async def vanishing(target):
    body = os.urandom(100 << 10)
    silent = []  # connections that could not vanish: they stay, and say nothing more

    def work_aside(number):
        who = number % len(target.accounts)
        headers = [target.bearer(who), ("content-type", BATCH)]
        of = socket.create_connection(target.address, timeout=5, source_address=(Target.source(who), 0))
        of.sendall(head("POST", "/file/batch", headers, 1 << 20) + body)
        # An answer of TCP to what was sent last would reach a machine that knows of no connection, and say so.
        time.sleep(SENT)
        if not vanish(of):
            if not silent:
                print("clients cannot vanish without CAP_NET_ADMIN: they fall silent instead", file=sys.stderr)
            silent.append(of)

    async def work(number):
        await asyncio.to_thread(work_aside, number)
        target.seen["silent" if silent else "vanished"] += 1

    await target.many(target.some(8), work)
