"""Cost per entry of directories that grow: the same work on 1,000 to 1,000,000 entries."""

import os
import sys

from machine import run, seconds
from steps import create_all, entry_names, rename_all

COUNTS = (1000, 10_000, 100_000, 1_000_000)
WORKS = ("create", "rename", "ls -l, cold", "rm -rf, cold")


def measure(arguments, contestants):
    """The microseconds per entry of each work at each size, as text and as figures."""
    figures = {contestant.name: {work: {} for work in WORKS} for contestant in contestants}
    counts = [count for count in COUNTS if count <= arguments.most]
    for count in counts:
        for contestant in contestants:
            print(f"{count:,} entries: {contestant.name}", file=sys.stderr, flush=True)
            one_directory(contestant, count, figures[contestant.name])
    for count in counts:  # at the end, as ext4 is slow for a while after it
        for contestant in contestants:
            print(f"{count:,} entries are removed: {contestant.name}", file=sys.stderr, flush=True)
            contestant.restart()
            took = seconds(run, "rm", "-rf", contestant.directory / f"curve-{count}")
            figures[contestant.name]["rm -rf, cold"][count] = took / count * 1e6
            contestant.settle()
    return text(figures, counts), {"microseconds_per_entry": figures}


def one_directory(contestant, count, figures):
    """Makes and keeps a directory; what the kernel knows of others is forgotten first."""
    contestant.restart()
    directory = contestant.directory / f"curve-{count}"
    directory.mkdir()
    names = entry_names(directory, count)
    for work, function in (("create", create_all), ("rename", rename_all)):
        contestant.settle()
        os.sync()
        figures[work][count] = seconds(function, names) / count * 1e6
    contestant.settle()
    contestant.restart()
    figures["ls -l, cold"][count] = seconds(run, "ls", "-l", directory) / count * 1e6


def text(figures, counts):
    lines = ["µs per entry".ljust(34) + "".join(f"{count:>12,}" for count in counts) + "   most / least"]
    for name, works in figures.items():
        for work, by_count in works.items():
            costs = [by_count[count] for count in counts]
            lines.append(f"{name}, {work}".ljust(34) + "".join(f"{cost:12.1f}" for cost in costs) + f"{max(costs) / min(costs):12.1f}")
    return "\n".join(lines)
