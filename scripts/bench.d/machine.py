"""This machine: programs that run on it, its mounts, its memory, its ports."""

import contextlib
import os
import pathlib
import socket
import subprocess
import time

MIB = 1 << 20
WAIT = 600  # seconds


def run(*command, **options):
    """Runs a command that must succeed, without its output."""
    options.setdefault("stdout", subprocess.DEVNULL)
    subprocess.run([str(word) for word in command], check=True, **options)


def git(*words):
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    run("git", *identity, *words, env=alone)


def seconds(work, *arguments):
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start


def wait_until(what, condition):
    limit = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"not within {WAIT} s: {what}")
        time.sleep(0.02)


def drop_caches():
    """Writes all to the disk; as root, also takes what is on the disk out of memory."""
    os.sync()
    if os.geteuid() == 0:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def is_mounted(directory):
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split(" ")[4] == str(directory) for line in mounts)


def unmount(directory, process):
    """Unmounts and waits for the process that served it."""
    if is_mounted(directory):
        # A program that has just ended may still hold it for a moment.
        wait_until(f"{directory} is unmounted", lambda: unmounted(directory))
    process.wait()


def unmount_below(directory):
    """Takes away what is still mounted there, so that nothing is removed through it."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount = line.split(" ")[4]
        if mount.startswith(f"{directory}/"):
            run("fusermount3", "-u", "-z", mount)


def unmounted(directory):
    asked = subprocess.run(["fusermount3", "-u", str(directory)], check=False, stderr=subprocess.DEVNULL)
    return asked.returncode == 0


def wait_for_mount(directory, process):
    """Waits until a process has mounted a directory; one that ends instead is an error."""

    def mounted():
        if process.poll() is not None:
            raise OSError(f"{process.args[0]} ended with {process.returncode} and did not mount {directory}")
        return is_mounted(directory)

    wait_until(f"{process.args[0]} mounts {directory}", mounted)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_listening(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def processes():
    """The directories of all processes below /proc."""
    return pathlib.Path("/proc").glob("[0-9]*")


def peak_memory(process):
    """The most that a process had resident, in MiB; 0 for one that is gone."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024
    return 0
