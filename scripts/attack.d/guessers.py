"""Attacks on the ways in: guessed passwords and tokens, and accounts by the thousand."""

import asyncio
import random
import secrets

from wire import Client

PROXY = "127.0.2.1"  # the server believes it when it says whose request it passes on


def device():
    return {"name": "guesser"}


def guess(target, number):
    """Names that are there and names that are not, none with its password."""
    account = target.accounts[number % len(target.accounts)]["name"]
    return {"name": account if number % 2 else f"nobody-{number}", "password": secrets.token_hex(8), "device": device()}


async def guess_by_ipv4(target):
    async def work(number):
        source = f"127.{random.randint(3, 250)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        client = Client(target.address, source)
        try:
            target.saw(await client.ask("POST", "/user/signin", guess(target, number)))
        finally:
            for connection in client.idle:
                connection.close()

    await target.many(target.some(64), work)


async def guess_by_ipv6(target):
    """Half of the guesses come from one /64, half from all of one /48."""
    clients = {}

    async def work(number):
        client = clients.setdefault(number % 64, Client(target.address, PROXY))
        network = "2001:db8:1:1" if number % 2 else f"2001:db8:2:{random.getrandbits(16):x}"
        host = ":".join(f"{random.getrandbits(16):x}" for _ in range(4))
        headers = [("x-forwarded-for", f"{network}:{host}")]
        target.saw(await client.ask("POST", "/user/signin", guess(target, number // 2), headers=headers))

    await target.many(target.some(64), work)


async def forged_refresh(target):
    clients = {}
    real = target.accounts[0]["refresh"]

    async def work(number):
        client = clients.setdefault(number % 64, Client(target.address, target.source(number % 64)))
        # As long as a real one, with the head of a real one, and no token at all.
        token = (secrets.token_urlsafe(len(real)), real[: len(real) // 2] + secrets.token_urlsafe(20), "x")[number % 3]
        target.saw(await client.ask("POST", "/user/refresh", {"refresh_token": token}))

    await target.many(target.some(64), work)


async def sign_ups(target):
    clients = {}

    async def work(number):
        client = clients.setdefault(number % 64, Client(target.address, target.source(number % 64)))
        body = {"name": f"flood-{secrets.token_hex(8)}", "password": "correct horse battery", "device": device()}
        answer = target.saw(await client.ask("POST", "/user/signup", body))
        if answer.status == 429:
            await asyncio.sleep(0.2)

    await target.many(target.some(64), work)
