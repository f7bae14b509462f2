"""Bare ranges over loopback: what any reader could get from the server of this project on this machine.

A few connections ask it for ranges of the same content at once, and throw the bytes away. No file system, no digests, no disk of a
client: what the mount takes beyond that is its own.
"""

import concurrent.futures
import http.client
import urllib.parse

from machine import MIB

RANGE = 8 * MIB
CONNECTIONS = 4


class Ranges:
    """Reads files of a drive by plain HTTP."""

    name = "ranges"

    def __init__(self, drive):
        self.drive = drive
        self.address = urllib.parse.urlsplit(drive.url).netloc
        self.headers = {}

    def sign_in(self):
        """Gets a token, which is good for some minutes only."""
        self.headers = {"authorization": f"Bearer {self.drive.token()}"}

    def read(self, path, size):
        """Gets all bytes of the file at a path of the drive."""
        query = urllib.parse.urlencode({"path": path, "through": "server"})
        starts = list(range(0, size, RANGE))
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            shares = [starts[first::CONNECTIONS] for first in range(CONNECTIONS)]
            got = sum(pool.map(lambda share: self.read_share(f"/file/download?{query}", share, size), shares))
        if got != size:
            raise OSError(f"{got} of {size} bytes came")

    def read_share(self, target, starts, size):
        """Gets some of the ranges one after the other by one connection; returns how many bytes came."""
        connection = http.client.HTTPConnection(self.address)
        buffer, got = bytearray(MIB), 0
        for start in starts:
            end = min(start + RANGE, size) - 1
            connection.request("GET", target, headers={**self.headers, "range": f"bytes={start}-{end}"})
            answer = connection.getresponse()
            if answer.status != 206:
                raise OSError(f"a range was answered with {answer.status}: {answer.read(200)}")
            while count := answer.readinto(buffer):
                got += count
        connection.close()
        return got
