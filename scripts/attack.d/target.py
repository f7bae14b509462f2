"""What an attack knows of its target, and how long it goes on."""

import asyncio
import collections
import itertools
import json
import time

from wire import Client, Connection, Refused

FAREWELL = 3  # seconds for all to end
PAUSE = 0.05  # after what went wrong, so that a refusal at once does not make a loop that only burns the attacker's own time


class Target:
    """The attacked server, with accounts that are signed in there."""

    def __init__(self, given):
        self.address = (given["host"], given["port"])
        self.accounts = given["accounts"]
        self.crowd = given["crowd"]
        self.scale = given["scale"]
        self.seconds = given["seconds"]
        self.seen = collections.Counter()
        self.deadline = None

    def some(self, count):
        """So many of anything at full scale, fewer in a trial."""
        return max(1, int(count * self.scale))

    @staticmethod
    def source(number):
        """An address of this machine's own, the same for the same number; the normal client has another one."""
        return f"127.1.{number // 250}.{number % 250 + 1}"

    def client(self, number=0, source=0, timeout=60):
        """One of the accounts, from one of the addresses."""
        account = self.accounts[number % len(self.accounts)]
        return Client(self.address, self.source(source), account["access"], timeout)

    def bearer(self, number=0):
        return ("authorization", f"Bearer {self.accounts[number % len(self.accounts)]['access']}")

    async def connect(self, source=0, **options):
        return await Connection.open(self.address, self.source(source), **options)

    def saw(self, answer):
        self.seen[str(answer.status)] += 1
        return answer

    def begin(self):
        """What was made beforehand is made: the clock runs from now on."""
        print(json.dumps({"ready": True}), flush=True)
        self.deadline = time.monotonic() + self.seconds

    async def many(self, count, work, begins=True):
        """Has so many do their work again and again until the time is over, whatever comes of it."""
        if begins:
            self.begin()
        tasks = [asyncio.create_task(self.again(work, number, count)) for number in range(count)]
        await asyncio.wait(tasks, timeout=max(0, self.deadline - time.monotonic()))
        for task in tasks:
            task.cancel()
        # Before Python 3.12 a cancellation can get lost in `wait_for`; whatever goes on then ends with the process.
        done, _ = await asyncio.wait(tasks, timeout=FAREWELL)
        for task in done:
            if not task.cancelled() and task.exception():
                raise task.exception()

    async def again(self, work, number, count):
        for turn in itertools.count():
            if time.monotonic() >= self.deadline:
                return
            try:
                await work(number + turn * count)
                self.seen["done"] += 1
            except Refused as refused:
                self.seen[str(refused.status)] += 1
                await asyncio.sleep(PAUSE)
            except (OSError, EOFError, ValueError, IndexError, TimeoutError, asyncio.TimeoutError, asyncio.LimitOverrunError) as error:
                self.seen[type(error).__name__] += 1
                await asyncio.sleep(PAUSE)
