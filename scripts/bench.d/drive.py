"""The mount of this project, over its own server."""

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request

from contestant import Contestant, Device
from machine import drop_caches, is_mounted, peak_memory, processes, run, wait_until

PASSWORD = "a password for the bench"


class Miaofs(Contestant):
    """A server with SQLite and a local directory, and the drive of one user, mounted by as many devices as are needed."""

    name = "miaofs"
    is_remote = True

    def __init__(self, scratch, binaries):
        self.scratch = scratch
        self.program = binaries / "miaofs"
        self.devices = 0
        self.log = open(scratch / "miaofs-server.log", "w")  # noqa: SIM115, closed with the rest
        command = [binaries / "miaofs-server", "serve", "--data", scratch / "miaofs-data", "--listen", "127.0.0.1:0"]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self.server.stdout.readline().split()[-1]
        self.state, self.directory = self.device("signup")

    def device(self, verb):
        """Signs a new device in and mounts the drive on it; returns its state directory and the mount."""
        self.devices += 1
        state = self.scratch / f"miaofs-state-{self.devices}"
        directory = self.scratch / f"miaofs-{self.devices}"
        directory.mkdir()
        sign = [verb, self.url, "--user", "bench", "--password-stdin", "--device", f"device-{self.devices}"]
        self.command(state, *sign, input=f"{PASSWORD}\n", text=True)
        self.command(state, "mount", directory)
        return state, directory

    def command(self, state, *words, **options):
        run(self.program, *words, env={**os.environ, "MIAOFS_STATE_DIR": str(state)}, **options)

    def settle(self):
        self.command(self.state, "sync", "--allow-deletions")

    def counters(self, state):
        """What the daemon of a state directory has counted since it began."""
        environment = {**os.environ, "MIAOFS_STATE_DIR": str(state)}
        return json.loads(subprocess.check_output([self.program, "status", "--json"], env=environment))["counters"]

    def traffic(self, state):
        counters = self.counters(state)
        return {"bytes": counters["bytes_received"], "requests": counters["requests"]}

    def daemon(self, state):
        """The process that has the drive of this state directory mounted."""
        environment = {**os.environ, "MIAOFS_STATE_DIR": str(state)}
        return json.loads(subprocess.check_output([self.program, "status", "--json"], env=environment))["pid"]

    def memory(self):
        """The most memory that each process had resident, in MiB, by its number and name."""
        ours = f"={self.scratch}/".encode()
        figures = {}
        for process in processes():
            with contextlib.suppress(OSError):
                if ours in (process / "environ").read_bytes() or int(process.name) == self.server.pid:
                    figures[f"{process.name} {(process / 'comm').read_text().strip()}"] = peak_memory(process.name)
        return figures

    def restart(self):
        self.command(self.state, "umount", self.directory)
        self.command(self.state, "mount", self.directory)
        self.settle()
        drop_caches()

    @contextlib.contextmanager
    def fresh(self):
        """Yields the mount of another device, which has all names in its store and no content."""
        state, directory = self.device("login")
        try:
            expected = sorted(os.listdir(self.directory))
            wait_until("the other device has caught up", lambda: sorted(os.listdir(directory)) == expected)
            drop_caches()
            yield Device(directory, lambda: self.traffic(state))
        finally:
            self.command(state, "umount", directory)
            shutil.rmtree(state)

    def token(self):
        """An access token for plain HTTP."""
        question = {"name": "bench", "password": PASSWORD, "device": {"name": "http"}}
        request = urllib.request.Request(f"{self.url}/user/signin", json.dumps(question).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["access_token"]

    def close(self):
        if is_mounted(self.directory):
            self.command(self.state, "umount", self.directory)
        self.server.terminate()
        self.server.wait()
        self.log.close()
