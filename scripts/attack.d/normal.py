#!/usr/bin/env python3
"""The normal client beside the attacks: a steady mix of requests, each of which it tells about in a line of JSON.

    normal.py HOST PORT TIMEOUT

What is due is asked on time, whether or not what was asked before has been answered: a server that stands still does not
get fewer questions. What gets no answer within TIMEOUT seconds counts as so long, with status 0.
"""

import asyncio
import json
import os
import secrets
import sys
import time

from drives import BATCH, BYTES, Account, batch, change, digests_aside
from wire import Client, Refused

CHUNK = 4 << 20
DOWNLOADED = 1 << 20
SMALL = 4  # contents of a batch
AT_ONCE = 16  # of one kind of request; what is due beyond that is told as unanswered
SOURCE = "127.0.0.1"


class Normal:
    """Somebody with a drive who works steadily."""

    def __init__(self, address, timeout):
        self.address = address
        self.timeout = timeout
        self.other_device = {"id": secrets.token_hex(16), "name": "other"}

    async def prepare(self):
        visitor = Client(self.address, SOURCE)
        self.account = await Account.sign(visitor, "signup", f"normal-{secrets.token_hex(4)}", {"name": "normal"})
        self.client = self.account.client(self.address, SOURCE, self.timeout)
        self.visitor = Client(self.address, SOURCE, timeout=self.timeout)
        self.other = await Account.sign(visitor, "signin", self.account.name, self.other_device)
        uploaded = await self.client.expect("POST", "/file/upload?path=/downloaded", os.urandom(DOWNLOADED), BYTES)
        self.downloaded = uploaded.json()["state"]["content"]["digest"]
        directories = [change("directory", [name]) for name in ("listed", "work")]
        self.listed, self.work = (directory["id"] for directory in directories)
        nodes = [change("fifo", [f"name-{number}"], parent=self.listed) for number in range(50)]
        await self.client.expect("POST", "/fs/commit", {"changes": directories + nodes})
        self.cursor = 0

    async def timed(self, what, work):
        """Tells how long a request took and how it ended; the answer when it was a success."""
        began, status = time.monotonic(), 0
        try:
            answer = await work
            status = answer.status
            return answer if status < 300 else None
        except (OSError, EOFError, TimeoutError, asyncio.TimeoutError, ValueError, IndexError) as error:
            print(f"{what}: {type(error).__name__} {error}", file=sys.stderr)
        finally:
            tell(what, began, status)

    async def small(self):
        contents = [os.urandom(300) for _ in range(SMALL)]
        named = await digests_aside(contents)
        if not await self.timed("batch", self.client.ask("POST", "/file/batch", batch(contents, named), BATCH)):
            return
        nodes = [change("file", [f"file-{name[:16]}"], (name, 300), parent=self.work) for name in named]
        await self.timed("commit", self.client.ask("POST", "/fs/commit", {"changes": nodes}))

    async def chunk(self):
        content = os.urandom(CHUNK)
        digest, = await digests_aside([content])
        init = {"digest": digest, "size": CHUNK, "chunks": [digest]}
        begun = await self.timed("init", self.client.ask("POST", "/file/multipart/init", init))
        if not begun:
            return
        begun = begun.json()
        upload = f"{'/on/' + begun['host'] if begun.get('host') else ''}/file/multipart/{begun['upload_id']}"
        if await self.timed("chunk", self.client.ask("PUT", f"{upload}/0", content, BYTES)):
            await self.timed("complete", self.client.ask("POST", f"{upload}/complete", {}))

    async def upload(self):
        """As a browser or curl sends a file."""
        path = f"/file/upload?path=/uploaded-{secrets.token_hex(8)}"
        await self.timed("upload", self.client.ask("POST", path, os.urandom(4096), BYTES))

    async def changes(self):
        answer = await self.timed("changes", self.client.ask("GET", f"/fs/changes?since={self.cursor}"))
        if answer:
            self.cursor = answer.json()["cursor"]

    async def listing(self):
        await self.timed("listing", self.client.ask("GET", f"/fs/list/{self.listed}"))

    async def download(self):
        await self.timed("download", self.client.ask("GET", f"/file/download?digest={self.downloaded}&through=server"))

    async def health(self):
        await self.timed("health", self.visitor.ask("GET", "/healthz"))

    async def session(self):
        """Renews the session of the other device, or begins it anew."""
        answer = await self.timed("refresh", self.visitor.ask("POST", "/user/refresh", {"refresh_token": self.other.refresh}))
        if answer:
            self.other.refresh = answer.json()["refresh_token"]

    async def sign_in(self):
        body = {"name": self.account.name, "password": "correct horse battery staple", "device": self.other_device}
        answer = await self.timed("sign-in", self.visitor.ask("POST", "/user/signin", body))
        if answer:
            self.other.refresh = answer.json()["refresh_token"]

    async def every(self, seconds, first, work):
        under_way = set()
        due = time.monotonic() + first
        while True:
            await asyncio.sleep(max(0, due - time.monotonic()))
            due += seconds
            if len(under_way) >= AT_ONCE:
                tell(work.__name__, time.monotonic() - self.timeout, 0)
                continue
            task = asyncio.create_task(work())
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    async def run(self):
        plan = [(0.5, self.health), (0.5, self.changes), (0.5, self.download), (0.5, self.small), (1, self.listing), (1, self.upload), (1, self.chunk)]
        plan += [(10, self.session), (10, self.sign_in)]
        # Spread over time; the two that share a session never meet.
        starts = [number * 0.07 for number in range(7)] + [3, 8]
        await asyncio.gather(*(self.every(seconds, first, work) for (seconds, work), first in zip(plan, starts)))


def tell(what, began, status):
    print(json.dumps({"what": what, "began": began, "took": time.monotonic() - began, "status": status}), flush=True)


async def main():
    host, port, timeout = sys.argv[1:]
    normal = Normal((host, int(port)), float(timeout))
    try:
        await normal.prepare()
    except Refused as refused:
        sys.exit(f"the normal client cannot begin: {refused}")
    print(json.dumps({"ready": True}), flush=True)
    await normal.run()


if __name__ == "__main__":
    asyncio.run(main())
