"""Accounts with drives, as an attack or the normal client needs them: contents, nodes, batches, commits."""

import asyncio
import os
import secrets
import subprocess
import time

from wire import Client

ROOT = "0" * 32
PASSWORD = "correct horse battery staple"
BATCH = "application/vnd.miaofs.batch"
BYTES = "application/octet-stream"
COMMIT_NODES = 2000


class Account:
    """Somebody who is signed in."""

    def __init__(self, name, device, access, refresh):
        self.name = name
        self.device = device
        self.access = access
        self.refresh = refresh

    @classmethod
    async def sign(cls, client, verb, name, device):
        """`signup` or `signin`."""
        body = {"name": name, "password": PASSWORD, "device": device}
        session = (await client.expect("POST", f"/user/{verb}", body)).json()
        return cls(name, session["device"], session["access_token"], session["refresh_token"])

    def client(self, address, source=None, timeout=60):
        return Client(address, source, self.access, timeout)


def digests(contents):
    """BLAKE3 of each of them, in hex."""
    if len(contents) == 1:
        return [subprocess.run(["b3sum", "--no-names"], input=contents[0], capture_output=True, check=True).stdout.decode().strip()]
    # One process for all: each content comes by a file that is only in memory.
    files = [os.memfd_create("content") for _ in contents]
    try:
        for file, content in zip(files, contents):
            os.write(file, content)
        paths = [f"/proc/self/fd/{file}" for file in files]
        found = subprocess.run(["b3sum", "--no-names", *paths], pass_fds=files, capture_output=True, check=True)
    finally:
        for file in files:
            os.close(file)
    return found.stdout.decode().split()


async def digests_aside(contents):
    return await asyncio.to_thread(digests, contents)


def batch(contents, named):
    """The body of a batch."""
    return b"".join(bytes.fromhex(digest) + len(content).to_bytes(4, "big") + content for content, digest in zip(contents, named))


def change(kind, names, content=None, xattrs=None, parent=ROOT):
    """A new node with these names."""
    now = time.time_ns()
    state = {"kind": kind, "mode": 0o755, "uid": 2**32 - 1, "gid": 2**32 - 1, "mtime": now, "ctime": now, "btime": now}
    state["entries"] = [{"parent": parent, "name": name} for name in names]
    if xattrs:
        state["xattrs"] = xattrs
    if content:
        state["content"] = {"digest": content[0], "size": content[1]}
    return {"id": secrets.token_hex(16), "base": 0, "revision": secrets.token_hex(16), "state": state}


async def make_names(client, count):
    """A directory with so many names in it; answers its id and how many there are, fewer where the server sets a limit."""
    directory = change("directory", [f"crowd-{secrets.token_hex(4)}"])
    await client.expect("POST", "/fs/commit", {"changes": [directory]})
    made = 0
    while made < count:
        nodes = [change("fifo", [f"name-{made + number:08}"], parent=directory["id"]) for number in range(min(COMMIT_NODES, count - made))]
        answer = await client.ask("POST", "/fs/commit", {"changes": nodes})
        if answer.status != 200 or answer.json()["conflicts"]:
            break
        made += len(nodes)
    return directory["id"], made
