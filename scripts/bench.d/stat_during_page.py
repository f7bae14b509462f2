"""The longest that a stat waits in a mount of miaofs while the daemon takes in a page of very many changes."""

import contextlib
import os
import shutil
import signal
import statistics
import time

from drive import Miaofs
from machine import WAIT, wait_until

PAGE_CHANGES = 10_000  # what a daemon collects before it applies them


def measure(arguments, scratch):
    """All rounds as text, and as figures."""
    rounds = []
    with contextlib.ExitStack() as stack:
        contestant = Miaofs(scratch, arguments.binaries)
        stack.callback(contestant.close)
        for number in range(arguments.rounds):
            waits = sorted(one_round(contestant))
            rounds.append({"longest": waits[-1], "median": statistics.median(waits), "stats": len(waits), "seconds": sum(waits) / 1000})
            print(f"round {number + 1} of {arguments.rounds}: {rounds[-1]}", flush=True)
    longest = [figures["longest"] for figures in rounds]
    text = (
        f"longest wait of a stat while {PAGE_CHANGES:,} changes arrive, ms: "
        f"{statistics.median(longest):.1f} (median), {max(longest):.1f} (most)"
    )
    return text, {"milliseconds": rounds}


def one_round(contestant):
    """Has another device take in many changes at once; returns the milliseconds of each stat in its mount meanwhile.

    Its daemon sleeps while the changes are made. Each stat is of a new name that does not exist: the kernel knows nothing of it,
    so the daemon must answer. The wait for one change before them ends the open poll, so that all others come together.
    """
    state, directory = contestant.device("login")
    own = contestant.directory / f"page-{contestant.devices}"
    other = directory / own.name
    own.mkdir()
    contestant.settle()
    wait_until("the other device has the directory", other.exists)
    daemon = contestant.daemon(state)
    os.kill(daemon, signal.SIGSTOP)
    try:
        (own / "before").touch()
        contestant.settle()
        for number in range(PAGE_CHANGES):
            (own / f"file-{number:05}").touch()
        contestant.settle()
    finally:
        os.kill(daemon, signal.SIGCONT)
    try:
        return waits_until_seen(other)
    finally:
        contestant.command(state, "umount", directory)
        shutil.rmtree(state)


def waits_until_seen(directory):
    """Milliseconds of each stat of an absent name until all changes are seen in the directory."""
    waits, looked, limit = [], 0.0, time.monotonic() + WAIT
    while time.monotonic() < limit:
        absent = directory / f"absent-{len(waits)}"
        start = time.perf_counter()
        absent.exists()
        end = time.perf_counter()
        waits.append((end - start) * 1000)
        if end - looked > 0.05:  # a look at all names is a burden itself
            looked = end
            if (directory / f"file-{PAGE_CHANGES - 1:05}").exists() and len(os.listdir(directory)) == PAGE_CHANGES + 1:
                return waits
    raise TimeoutError(f"not all of {PAGE_CHANGES} changes are seen within {WAIT} s")
