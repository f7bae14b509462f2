"""Attacks by many requests at once, and by what is no request at all."""

import asyncio
import os
import secrets

from wire import head

LINE = b"POST /user/signin HTTP/1.1\r\nhost: a\r\n"
NESTED = b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n"
GARBAGE = [
    LINE + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + NESTED,
    LINE + b"transfer-encoding: chunked\r\ncontent-length: 400\r\n\r\n0\r\n\r\n" + NESTED,
    LINE + b"content-length: 0\r\ncontent-length: 40\r\n\r\n" + NESTED,
    LINE + b"content-length: -1\r\n\r\n" + NESTED,
    LINE + b"content-length: 99999999999999999999999\r\n\r\n",
    LINE + b"transfer-encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    LINE + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + NESTED,
    LINE + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + NESTED,
    LINE + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
    LINE + b"transfer-encoding: chunked\r\n\r\n1;" + b"e" * 100_000 + b"\r\nx\r\n0\r\n\r\n",
    LINE + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"trailer: x\r\n" * 10_000 + b"\r\n",
    LINE.replace(b"\r\n", b"\n") + b"content-length: 3\n\n{}\n" + NESTED,
    LINE + b"expect: 100-continue\r\ncontent-length: 1000\r\n\r\n",
    LINE + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAAA\r\n\r\n",
    b"GET  /healthz  HTTP/1.1\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\n\r\n",
    b"GET http://other/healthz HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /%00%ff/../..//healthz HTTP/1.1\r\nhost: a\r\n\r\n",
    b"\x00\x01\x02" * 1000,
    b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x40\x00\x01\x04\x00\x00\x00\x01" + b"x" * 16384,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 508,
]


async def unknown_routes(target):
    """Hundreds of requests on a connection before the first answer is read."""
    async def work(number):
        connection = await target.connect(number % 50)
        try:
            text = b"".join(head("GET", f"/{secrets.token_hex(8)}") for _ in range(200))
            await connection.send(text)
            for _ in range(200):
                target.saw(await connection.answer())
        finally:
            connection.close()

    await target.many(target.some(16), work)


async def garbage(target):
    """What takes one request for two, or two for one, is told by its answer; here it must only do no harm."""
    async def work(number):
        connection = await target.connect(number % 50)
        try:
            kind = number % (len(GARBAGE) + 1)
            await connection.send(GARBAGE[kind] if kind < len(GARBAGE) else os.urandom(4096))
            text = await asyncio.wait_for(connection.reader.read(), 2)
            target.seen[text[9:12].decode("latin-1") if text.startswith(b"HTTP/") else "no answer"] += 1
        finally:
            connection.close()

    await target.many(target.some(16), work)
