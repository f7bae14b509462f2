"""Cost per entry of directories that grow: the same work on 1,000 to 1,000,000 entries."""

import os

from machine import run, seconds
from steps import create_all, entry_names, rename_all

COUNTS = (1000, 10_000, 100_000, 1_000_000)
WORKS = ("create", "rename", "ls -l", "rm -rf")


def measure(arguments, contestants):
    """The microseconds per entry of each work at each size, as text and as figures."""
    figures = {contestant.name: {work: {} for work in WORKS} for contestant in contestants}
    counts = [count for count in COUNTS if count <= arguments.most]
    directories = []
    for count in counts:
        for contestant in contestants:
            print(f"{count:,} entries: {contestant.name}", flush=True)
            directory = contestant.directory / f"curve-{count}"
            directory.mkdir()
            names = entry_names(directory, count)
            for work, function in (("create", create_all), ("rename", rename_all)):
                contestant.settle()
                os.sync()
                figures[contestant.name][work][count] = seconds(function, names) / count * 1e6
            contestant.settle()
            figures[contestant.name]["ls -l"][count] = seconds(run, "ls", "-l", directory) / count * 1e6
            directories.append((contestant, directory, count))
    for contestant, directory, count in directories:  # at the end, as ext4 is slow for a while after it
        figures[contestant.name]["rm -rf"][count] = seconds(run, "rm", "-rf", directory) / count * 1e6
        contestant.settle()
    return text(figures, counts), {"microseconds_per_entry": figures}


def text(figures, counts):
    lines = ["µs per entry".ljust(34) + "".join(f"{count:>12,}" for count in counts) + "   most / least"]
    for name, works in figures.items():
        for work, by_count in works.items():
            costs = [by_count[count] for count in counts]
            lines.append(f"{name}, {work}".ljust(34) + "".join(f"{cost:12.1f}" for cost in costs) + f"{max(costs) / min(costs):12.1f}")
    return "\n".join(lines)
