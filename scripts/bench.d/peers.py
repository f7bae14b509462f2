"""Other people's mounts of remote storage, each set as well for these rows as its documentation allows.

`rclone mount` has its full cache, which is its best mode for all rows, keeps names as long as this project's mount does, and sends
on close (`--vfs-write-back 0`). Its server is `rclone serve webdav` of a local directory: Debian's rclone cannot serve S3.

s3fs has a cache on the disk, too, and a real S3 server: the one that MIAOFS_TEST_CEPH_* name (`scripts/services` prints where they
stand), or a Ceph cluster that is started for the run where Debian's packages of it are installed.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import urllib.request

from contestant import Contestant, Device
from machine import drop_caches, free_port, is_listening, run, unmount, wait_for_mount, wait_until

SERVICES = pathlib.Path(__file__).resolve().parent.parent / "services"
S3_PARTS = ("ceph-mon", "ceph-osd", "radosgw")
COPIES = 16  # files that are put there at once


class Rclone(Contestant):
    """Debian's `rclone mount` over its own WebDAV server."""

    name = "rclone"
    is_remote = True
    is_patient = False

    def __init__(self, scratch):
        self.scratch = scratch
        self.backing = scratch / "rclone-data"
        self.directory = scratch / "rclone"
        self.cache = scratch / "rclone-cache"
        self.backing.mkdir()
        self.directory.mkdir()
        self.clean = {}  # when rclone's account of a file was written that says that it is sent
        self.log = open(scratch / "rclone.log", "w")  # noqa: SIM115, closed with the rest
        self.port = free_port()
        self.server = self.start("serve", "webdav", self.backing, "--addr", f"127.0.0.1:{self.port}")
        wait_until("rclone serves", lambda: is_listening(self.port))
        self.process, self.control = self.mount(self.directory, self.cache)

    @staticmethod
    def missing():
        return None if shutil.which("rclone") else "it is not installed"

    def start(self, *words):
        command = ["rclone", "--config", os.devnull, *map(str, words)]
        return subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def mount(self, directory, cache):
        """Mounts; returns the process and the port that it is asked on."""
        control = free_port()
        process = self.start(
            "mount", ":webdav:", directory, "--webdav-url", f"http://127.0.0.1:{self.port}",
            "--vfs-cache-mode", "full", "--vfs-write-back", "0", "--cache-dir", cache,
            "--dir-cache-time", "1h", "--attr-timeout", "1h", "--vfs-cache-max-age", "24h", "--transfers", "8",
            "--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{control}",
        )  # fmt: skip
        wait_for_mount(directory, process)
        return process, control

    def settle(self):
        wait_until("all is on rclone's server", lambda: not self.is_dirty())

    def is_dirty(self):
        """Says if rclone has still to send something, by its own account of each file: its counters leave out what it sends on close."""
        cache = ask(self.control, "vfs/stats")["diskCache"]
        if cache["uploadsInProgress"] + cache["uploadsQueued"]:
            return True
        for directory, _, names in os.walk(cache["pathMeta"]):
            for name in names:
                path = os.path.join(directory, name)
                with contextlib.suppress(FileNotFoundError):
                    changed = os.stat(path).st_mtime_ns
                    if self.clean.get(path) != changed:
                        if is_dirty(path):
                            return True
                        self.clean[path] = changed
        return False

    def populate(self, source, name):
        target = self.backing / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        ask(self.control, "vfs/forget")

    def restart(self):
        unmount(self.directory, self.process)
        self.process, self.control = self.mount(self.directory, self.cache)
        drop_caches()

    @contextlib.contextmanager
    def fresh(self):
        """Yields another mount, with an empty cache."""
        directory, cache = self.scratch / "rclone-fresh", self.scratch / "rclone-fresh-cache"
        directory.mkdir()
        process, control = self.mount(directory, cache)
        try:
            drop_caches()
            yield Device(directory, lambda: {"bytes": ask(control, "core/stats")["bytes"], "requests": None})
        finally:
            unmount(directory, process)
            directory.rmdir()
            shutil.rmtree(cache, ignore_errors=True)

    def close(self):
        unmount(self.directory, self.process)
        self.server.terminate()
        self.server.wait()
        self.log.close()


def is_dirty(path):
    """Says if a file's account in rclone's cache has something to send; one that is just being written has."""
    try:
        return json.loads(pathlib.Path(path).read_text())["Dirty"]
    except ValueError:
        return True


def ask(port, what):
    """What an rclone answers that is controlled by this port."""
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{what}", method="POST")) as answer:
        return json.load(answer)


class S3fs(Contestant):
    """Debian's `s3fs` over Ceph's S3 gateway."""

    name = "s3fs"
    is_remote = True
    is_patient = False

    def __init__(self, scratch):
        self.scratch = scratch
        self.services = None
        self.settings = dict(os.environ)
        if "MIAOFS_TEST_CEPH_ENDPOINT" not in self.settings:
            self.services = scratch / "services"
            for part in S3_PARTS:
                run(SERVICES, "start", part, self.services)
            lines = (self.services / "services.env").read_text().splitlines()
            self.settings = dict(line.split("=", 1) for line in lines)
        self.password = scratch / "s3fs-password"
        with open(os.open(self.password, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{self.setting('ACCESS_KEY')}:{self.setting('SECRET_KEY')}\n")
        self.top = scratch / "s3fs"
        self.cache = scratch / "s3fs-cache"
        self.log = open(scratch / "s3fs.log", "w")  # noqa: SIM115, closed with the rest
        self.top.mkdir()
        self.process = self.mount(self.top, self.cache)
        self.directory = self.top / f"miaofs-bench-{os.getpid()}"
        self.directory.mkdir()

    @staticmethod
    def missing():
        if not shutil.which("s3fs"):
            return "it is not installed"
        has_server = "MIAOFS_TEST_CEPH_ENDPOINT" in os.environ or all(map(shutil.which, S3_PARTS))
        return None if has_server else "there is no S3 server for it: neither MIAOFS_TEST_CEPH_* nor ceph-osd and radosgw"

    def setting(self, name):
        return self.settings[f"MIAOFS_TEST_CEPH_{name}"]

    def mount(self, directory, cache):
        options = [
            f"url={self.setting('ENDPOINT')}", "use_path_request_style", f"passwd_file={self.password}", f"use_cache={cache}",
            "max_stat_cache_size=1000000", "stat_cache_expire=3600", "enable_noobj_cache", "parallel_count=8", "multireq_max=64",
        ]  # fmt: skip
        command = ["s3fs", self.setting("BUCKET"), str(directory), "-f", "-o", ",".join(options)]
        process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        wait_for_mount(directory, process)
        return process

    def settle(self):
        """Nothing waits: a file is sent before it is closed."""

    def populate(self, source, name):
        if not source.is_dir():
            shutil.copyfile(source, self.directory / name)
            return
        (self.directory / name).mkdir()
        with concurrent.futures.ThreadPoolExecutor(COPIES) as pool:
            list(pool.map(lambda path: shutil.copyfile(path, self.directory / name / path.name), source.iterdir()))

    def restart(self):
        unmount(self.top, self.process)
        self.process = self.mount(self.top, self.cache)
        drop_caches()

    @contextlib.contextmanager
    def fresh(self):
        """Yields another mount, with an empty cache."""
        top, cache = self.scratch / "s3fs-fresh", self.scratch / "s3fs-fresh-cache"
        top.mkdir()
        process = self.mount(top, cache)
        try:
            drop_caches()
            yield Device(top / self.directory.name)
        finally:
            unmount(top, process)
            top.rmdir()
            shutil.rmtree(cache, ignore_errors=True)

    def close(self):
        if not self.services:
            run("rm", "-rf", self.directory)
        unmount(self.top, self.process)
        self.log.close()
        if self.services:
            run(SERVICES, "down", self.services, "--wipe")
