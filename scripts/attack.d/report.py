"""What the normal client found in each attack, beside the goals."""

import dataclasses
import statistics

LATENCY_LIMIT = 1.0  # seconds, of the 99th percentile
LATENCY_FACTOR = 3  # of what it is in quiet
MEMORY_LIMIT = 600  # MB
MEMORY_AFTERWARDS = 1.2  # of what it was before


@dataclasses.dataclass
class Row:
    """One attack, or the quiet before and after."""

    name: str
    median: float
    p99: float
    longest: float
    requests: int
    server_errors: int
    failed: int
    memory: float
    descriptors: int
    slowest: dict = dataclasses.field(default_factory=dict)
    well_after: object = None
    remark: str = ""
    missed: list = dataclasses.field(default_factory=list)


def row_of(name, requests, memory, descriptors):
    """The row of these requests, each as the normal client told it."""
    took = sorted(request["took"] for request in requests) or [0.0]
    slowest = {}
    for request in requests:
        slowest[request["what"]] = max(slowest.get(request["what"], 0.0), request["took"])
    statuses = [request["status"] for request in requests]
    return Row(
        name,
        statistics.median(took),
        took[min(len(took) - 1, int(len(took) * 0.99))],
        took[-1],
        len(requests),
        sum(status >= 500 for status in statuses),
        sum(not 200 <= status < 500 or status >= 400 for status in statuses) - sum(status >= 500 for status in statuses),
        memory,
        descriptors,
        slowest,
    )


def judge(row, quiet):
    """Notes the goals that the server missed in this attack."""
    if not row.requests:
        row.missed.append("no requests")
    if row.p99 > LATENCY_FACTOR * quiet.p99:
        slow = sorted(what for what, took in row.slowest.items() if took > LATENCY_FACTOR * quiet.p99)
        row.missed.append(f"p99 is {row.p99 / quiet.p99:.1f} x quiet (slow: {' '.join(slow)})")
    if row.p99 >= LATENCY_LIMIT:
        row.missed.append("p99 ≥ 1 s")
    if row.server_errors:
        row.missed.append("5xx")
    if row.failed:
        row.missed.append("failed requests")
    if row.memory >= MEMORY_LIMIT:
        row.missed.append(f"memory ≥ {MEMORY_LIMIT} MB")


def judge_afterwards(row, quiet):
    if row.memory > MEMORY_AFTERWARDS * quiet.memory:
        row.missed.append(f"memory is {row.memory / quiet.memory:.2f} x what it was before")


TITLES = ["", "p50 ms", "p99 ms", "max ms", "requests", "5xx", "failed", "MB", "descriptors", "well after s", "goals", "what the attackers saw"]


def table(rows):
    """All rows as lines of text."""
    lines = [TITLES, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(TITLES))]
    left = {0, len(TITLES) - 2, len(TITLES) - 1}

    def aligned(line):
        return "  ".join(cell.ljust(width) if column in left else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths)))

    return "\n".join(aligned(line).rstrip() for line in lines)


def cells(row):
    times = [f"{1000 * figure:,.1f}" for figure in (row.median, row.p99, row.longest)]
    counts = [f"{row.requests:,}", str(row.server_errors), str(row.failed), f"{row.memory:,.0f}", f"{row.descriptors:,}"]
    well = "" if row.well_after is None else str(row.well_after)
    goals = f"MISSED: {', '.join(row.missed)}" if row.missed else "met"
    return [row.name, *times, *counts, well, goals, row.remark]
