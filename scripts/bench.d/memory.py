"""Memory of the processes of miaofs: of a daemon with very many nodes, and of a server with many uploads at once."""

import contextlib
import http.client
import os
import threading
import urllib.parse

from drive import Miaofs
from machine import MIB, WAIT, peak_memory, wait_until

NODES_LIMIT = 200  # MiB that the daemon may have
UPLOADS_LIMIT = 300  # MiB that the server may have
UPLOADS = 500
UPLOAD_SIZE = 8 * MIB
PIECE = 256 << 10
PER_DIRECTORY = 1000


def measure(arguments, scratch):
    """What each process had at the most, as text and as figures."""
    with contextlib.ExitStack() as stack:
        drive = Miaofs(scratch, arguments.binaries)
        stack.callback(drive.close)
        # First, as the server keeps what it once took.
        uploads(drive, min(UPLOADS, arguments.most))
        server = peak_memory(drive.server.pid)
        print(f"{min(UPLOADS, arguments.most)} uploads at once: the server had {server} MiB", flush=True)
        nodes(drive, arguments.most)
        daemon = peak_memory(drive.daemon(drive.state))
        other = second_device(drive)
        everyone = drive.memory()
    lines = [
        f"the server with {min(UPLOADS, arguments.most)} uploads at once, MiB: {server}, {verdict(server, UPLOADS_LIMIT)}",
        f"the daemon with {arguments.most:,} nodes that it made itself, MiB: {daemon}, {verdict(daemon, NODES_LIMIT)}",
        f"the daemon of a second device, which lists them all, MiB: {other}, {verdict(other, NODES_LIMIT)}",
        f"all processes at the end, MiB: {everyone}",
    ]
    return "\n".join(lines), {
        "MiB": {"server with uploads": server, "daemon with nodes": daemon, "second device": other, "at the end": everyone}
    }


def verdict(figure, limit):
    return f"goal ≤ {limit}: {'met' if figure <= limit else 'missed'}"


def nodes(drive, count):
    """Makes so many empty files, waits until the server has them, and looks at each."""
    for first in range(0, count, PER_DIRECTORY):
        directory = drive.directory / f"nodes-{first // PER_DIRECTORY:04}"
        directory.mkdir()
        for number in range(min(PER_DIRECTORY, count - first)):
            os.close(os.open(f"{directory}/{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    drive.settle()
    stat_all(drive.directory)


def second_device(drive):
    """Signs another device in, looks at each node there, and returns what its daemon had at the most."""
    state, directory = drive.device("login")
    expected = sorted(os.listdir(drive.directory))
    wait_until("the other device has caught up", lambda: sorted(os.listdir(directory)) == expected)
    stat_all(directory)
    memory = peak_memory(drive.daemon(state))
    drive.command(state, "umount", directory)
    return memory


def stat_all(top):
    for directory, _, names in os.walk(top):
        for name in names:
            os.stat(f"{directory}/{name}")


def uploads(drive, count):
    """Sends so many plain uploads at once. Each has begun before the first goes on; how many the server reads at a time is its own choice."""
    address, token = urllib.parse.urlsplit(drive.url).netloc, drive.token()
    begun = threading.Barrier(count, timeout=WAIT)
    failures = []

    def upload(number):
        try:
            connection = begin(address, token, number)
            begun.wait()
            for _ in range(UPLOAD_SIZE // PIECE):
                connection.send(os.urandom(PIECE))
            answer = connection.getresponse()
            if answer.status >= 300:
                raise OSError(f"an upload was answered with {answer.status}: {answer.read(200)}")
            connection.close()
        except (OSError, http.client.HTTPException, threading.BrokenBarrierError) as error:
            failures.append(error)

    threads = [threading.Thread(target=upload, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def begin(address, token, number):
    """Sends the head of an upload's request."""
    connection = http.client.HTTPConnection(address, timeout=WAIT)
    connection.putrequest("POST", f"/file/upload?path=/upload-{number}")
    connection.putheader("authorization", f"Bearer {token}")
    connection.putheader("content-type", "application/octet-stream")
    connection.putheader("content-length", str(UPLOAD_SIZE))
    connection.endheaders()
    return connection
