"""Contestants without a server: the disk itself, and a file system in user space that only passes on."""

import os
import subprocess

from contestant import Contestant
from machine import drop_caches, run, unmount, wait_for_mount


class Native(Contestant):
    """A directory of the disk itself: what the disk and the kernel allow."""

    name = "native"

    def __init__(self, scratch):
        self.directory = scratch / "native"
        self.directory.mkdir()

    def settle(self):
        run("sync", "-f", self.directory)

    def restart(self):
        drop_caches()


class PassThrough(Contestant):
    """The bare pass-through file system of daemon/examples: what a file system in user space costs at the least."""

    name = "pass-through"
    options = ()

    def __init__(self, scratch, binaries):
        self.program = binaries / "examples/pass-through"
        self.backing = scratch / f"{self.name}-data"
        self.directory = scratch / self.name
        self.backing.mkdir()
        self.directory.mkdir()
        self.log = open(scratch / f"{self.name}.log", "w")  # noqa: SIM115, closed with the rest
        self.mount()

    def mount(self):
        command = [self.program, self.backing, self.directory, *self.options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        wait_for_mount(self.directory, self.process)
        os.listdir(self.directory)  # it answers

    def settle(self):
        run("sync", "-f", self.backing)

    def restart(self):
        # As long as it runs it has a descriptor of each file that the kernel knows, which stays in memory.
        unmount(self.directory, self.process)
        self.mount()
        drop_caches()

    def close(self):
        unmount(self.directory, self.process)
        self.log.close()


class KernelPassThrough(PassThrough):
    """The same, but the kernel reads and writes open files itself."""

    name = "kernel-passthrough"
    options = ("--kernel-passthrough",)
