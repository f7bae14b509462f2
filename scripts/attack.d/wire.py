"""As little of HTTP/1.1 as a load needs, over asyncio: a client that is told what came back, whatever it is."""

import asyncio
import json
import socket

HEAD_LIMIT = 1 << 20


class Answer:
    """What the server said."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


class Refused(Exception):
    """An answer other than a success."""

    def __init__(self, answer, what):
        super().__init__(f"{what}: {answer.status} {answer.body[:300]!r}")
        self.status = answer.status


class Connection:
    """One connection, on which one request after the other is asked."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address, source=None, receive_buffer=None):
        """Connects from a source address; with a small buffer for what is received, the server feels how slowly one reads."""
        of = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            of.setblocking(False)
            if receive_buffer:
                of.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                # The port is chosen when it connects: the same one does for several destinations.
                of.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                of.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(of, address)
            return cls(*await asyncio.open_connection(sock=of, limit=HEAD_LIMIT))
        except BaseException:
            of.close()
            raise

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, method, path, headers=(), body=b""):
        """Sends a request and reads the whole answer."""
        await self.send(head(method, path, headers, len(body)) + body)
        return await self.answer()

    async def answer(self):
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.rstrip().split("\r\n")
        status = int(first.split()[1])
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            body = await self.chunks()
        elif length := int(headers.get("content-length", 0)):
            body = await self.reader.readexactly(length)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)

    async def chunks(self):
        pieces = []
        while size := int(await self.reader.readline(), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readline()
        return b"".join(pieces)

    def is_usable(self):
        return not (self.writer.is_closing() or self.reader.at_eof())

    def close(self):
        """Ends it at once, with all that was not sent yet."""
        self.writer.transport.abort()


def head(method, path, headers=(), length=None):
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: attacked", *(f"{name}: {value}" for name, value in headers)]
    if length is not None and (length or method in ("POST", "PUT")):
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


class Client:
    """Requests to one server from one address. Connections are kept, and there are as many as requests at once."""

    def __init__(self, address, source=None, token=None, timeout=60):
        self.address = tuple(address)
        self.source = source
        self.token = token
        self.timeout = timeout
        self.idle = []

    async def ask(self, method, path, body=b"", media_type="application/json", headers=()):
        """The answer, whatever it is."""
        headers = list(headers)
        if self.token:
            headers.append(("authorization", f"Bearer {self.token}"))
        if not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body, separators=(",", ":")).encode()
        if body:
            headers.append(("content-type", media_type))
        return await asyncio.wait_for(self.exchange(method, path, headers, body), self.timeout)

    async def exchange(self, method, path, headers, body):
        connection = None
        while self.idle and connection is None:
            connection = self.idle.pop()
            connection = connection if connection.is_usable() else None
        connection = connection or await Connection.open(self.address, self.source)
        try:
            answer = await connection.ask(method, path, headers, body)
        except BaseException:
            connection.close()
            raise
        if connection.is_usable():
            self.idle.append(connection)
        return answer

    async def expect(self, method, path, body=b"", media_type="application/json"):
        """The answer, which has to be a success."""
        answer = await self.ask(method, path, body, media_type)
        if answer.status >= 300:
            raise Refused(answer, f"{method} {path}")
        return answer
