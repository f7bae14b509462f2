"""Attacks with requests that are well-formed and far too large, or whose answers would be."""

import json
import re
import secrets

from drives import change

HOLES = 1 << 18  # chunks of 1 TiB
XATTRS = {f"user.large-{number}": "x" * (63 << 10) for number in range(2)}  # about as much as a node may have


def large_commit(target):
    """380,000 names of 1,000 each on a node: as much as 32 MiB of JSON hold."""
    nodes = []
    for number in range(target.some(380)):
        start = f"{secrets.token_hex(6)}-"
        nodes.append(change("fifo", [f"{start}{name}" for name in range(1000)]))
    return json.dumps({"changes": nodes}, separators=(",", ":")).encode()


async def monster_commits(target):
    bodies = [large_commit(target) for _ in range(2)]

    async def work(number):
        target.saw(await target.client(number, number % 4).ask("POST", "/fs/commit", with_new_ids(bodies[number % 2])))

    await target.many(2, work)


def with_new_ids(body):
    """The same commit of other nodes."""
    return re.sub(rb'(?<="id":")[0-9a-f]{8}', secrets.token_hex(4).encode(), body)


async def monster_xattrs(target):
    nodes = [change("fifo", [f"xattrs-{secrets.token_hex(8)}"], xattrs=XATTRS) for _ in range(target.some(240))]
    body = json.dumps({"changes": nodes}, separators=(",", ":")).encode()

    async def work(number):
        target.saw(await target.client(number, number % 4).ask("POST", "/fs/commit", with_new_ids(body)))

    await target.many(2, work)


async def refused_commits(target):
    """Changes whose names are taken by one large node, which the answer would hold as often as there are changes."""
    clients = [target.client(number, number) for number in range(4)]
    bodies = []
    for client in clients:
        names = [f"taken-{secrets.token_hex(6)}-{number}" for number in range(target.some(400))]
        await client.expect("POST", "/fs/commit", {"changes": [change("fifo", names, xattrs=XATTRS)]})
        bodies.append(json.dumps({"changes": [change("fifo", [name]) for name in names]}).encode())

    async def work(number):
        target.saw(await clients[number % 4].ask("POST", "/fs/commit", bodies[number % 4]))

    await target.many(8, work)


async def listings(target):
    """The whole drive, again and again, by eight at once."""
    paths = [f"/fs/list/{target.crowd}", "/fs/changes?since=0&limit=10000"]
    clients = [target.client(0, number) for number in range(8)]

    async def work(number):
        target.saw(await clients[number % 8].ask("GET", paths[number % 2]))

    await target.many(8, work)


async def holes(target):
    """Manifests of 1 TiB in which nothing is but holes, and which are of no content."""
    chunks = b",".join([b"null"] * HOLES)

    async def work(number):
        size = HOLES * (4 << 20)
        body = b'{"digest":"%s","size":%d,"chunks":[%s]}' % (secrets.token_hex(32).encode(), size, chunks)
        target.saw(await target.client(number, number % 4).ask("POST", "/file/multipart/init", body))

    await target.many(4, work)
