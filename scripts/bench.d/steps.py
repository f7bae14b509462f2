"""What is done with each contestant in each round, and which rows of the table come of it.

Each step begins when nothing of an earlier one is under way. Steps that remove very many files come after all others.
"""

import dataclasses
import os
import random
import subprocess
import sys
import time

from machine import MIB, drop_caches, git, run, seconds, wait_until

BLOCK = 4096
HEAD = 64 << 10
QUIET = 0.3  # seconds without another byte, after which no read-ahead is under way


class Trial:
    """One contestant in one round."""

    def __init__(self, contestant, inputs, number, results):
        self.contestant = contestant
        self.inputs = inputs
        self.sizes = inputs.sizes
        self.number = number
        self.results = results
        self.base = contestant.directory / f"round-{number}"
        self.base.mkdir(exist_ok=True)

    def note(self, row, figure, contestant=None):
        """Puts a figure into its row; None says that the row failed."""
        of_all = self.results.setdefault(row, {})
        figures = of_all.setdefault(contestant or self.contestant.name, [])
        figures.extend([None] * (self.number - len(figures)))
        figures[self.number :] = [figure]

    def note_failure(self, row):
        """Says that a row failed of which there is no figure of this round."""
        if len(self.results.get(row, {}).get(self.contestant.name, [])) <= self.number:
            self.note(row, None)

    def timed(self, row, work, *arguments):
        """Notes the seconds that work takes; returns when it began, None where it failed."""
        self.note(row, None)
        start = time.monotonic()
        try:
            self.note(row, seconds(work, *arguments))
        except (subprocess.CalledProcessError, OSError) as error:
            complain(self, row, error)
            return None
        return start

    def timed_until_settled(self, row, arrived, *work, then=None):
        """The same, and in a second row the seconds until all of it has arrived; `then` is part of that, too."""
        self.quiet()
        start = self.timed(row, *work)
        self.note(arrived, None)
        if start is not None:
            if then:
                then()
            self.contestant.settle()
            self.note(arrived, time.monotonic() - start)

    def quiet(self):
        self.contestant.settle()
        os.sync()


def complain(trial, row, error):
    print(f"round {trial.number + 1}, {trial.contestant.name}, {row}: {error}", file=sys.stderr, flush=True)


def small(trial):
    directory = trial.base / "small"
    directory.mkdir()
    names = [f"{directory}/{number}" for number in range(trial.sizes.small)]
    contents = list(zip(names, trial.inputs.small, strict=True))

    def create():
        for name, content in contents:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            os.write(file, content)
            os.close(file)

    trial.timed_until_settled("small", "small.server", create)


def untar(trial):
    read(trial.inputs.archive, trial.inputs.archive.stat().st_size)
    trial.timed_until_settled("untar", "untar.server", run, "tar", "-xf", trial.inputs.archive, "-C", trial.base)


def clone(trial):
    target = trial.base / "clone"
    trial.timed_until_settled("clone", "clone.server", git, "clone", "-q", "--no-local", trial.inputs.repository, target)
    # git reads each file again that was written in the same second as its index, wherever that is. So let that second pass, and
    # have git write the index once more.
    index = target / ".git/index"
    if index.exists():
        wait_until("the index is old enough", lambda: time.time() > index.stat().st_mtime + 1.5)
        git("-C", target, "status", "--porcelain")


def tree(trial):
    trial.timed_until_settled("tree", "tree.server", run, "cp", "-r", trial.inputs.tree, trial.base / "many")


def doom(trial):
    """Makes what `rm` is to remove."""
    directory = trial.base / "doomed"
    for number in range(trial.sizes.doomed):
        if number % 1000 == 0:
            (directory / f"{number // 1000}").mkdir(parents=True)
        (directory / f"{number // 1000}/file-{number}").touch()


def ls(trial):
    trial.contestant.restart()
    listed = trial.contestant.directory / "listed"
    for row in ("ls.cold", "ls.warm"):
        trial.timed(row, run, "ls", "-l", listed)
    if (count := len(os.listdir(listed))) != trial.sizes.listed:
        trial.note("ls.cold", None)
        trial.note("ls.warm", None)
        raise OSError(f"{listed} has {count} entries")


def large(trial):
    source, target = trial.inputs.large, trial.base / "large"
    read(source, trial.sizes.large * MIB)
    copy = ("cp", source, trial.base / "copy")
    # What a remote one must do at the least is done without one, too: written here, and written on the server.
    again = None if trial.contestant.is_remote else lambda: run(*copy)
    trial.timed_until_settled("cp", "cp.server", run, "cp", source, target, then=again)
    (trial.base / "copy").unlink(missing_ok=True)
    trial.quiet()
    size = trial.sizes.large * MIB
    trial.timed("read", read, target, size)
    trial.timed("read.again", read, target, size)
    places = random.Random(trial.number).choices(range(size // BLOCK), k=trial.sizes.warm_reads)
    trial.note("random", None)
    trial.note("random", len(places) / seconds(read_places, target, places))


def cold(trial):
    """Everything that needs a device without content."""
    trial.quiet()
    with trial.contestant.fresh() as device:
        scattered_reads(trial, device)
        if (trial.base / "clone").exists():
            status(trial, device)
        cold_read(trial, device)


def scattered_reads(trial, device):
    file, size = device.directory / "scattered", trial.sizes.scattered * MIB
    before = device.traffic()
    trial.timed("first", read_head, file)
    wait_until("nothing more comes", lambda: is_quiet(device))
    after = device.traffic()
    for row, count, unit in (("first.bytes", "bytes", 1 << 10), ("first.requests", "requests", 1)):
        if before[count] is not None:
            trial.note(row, (after[count] - before[count]) / unit)
    # Far from what the first read may have fetched ahead.
    blocks = range(size // 8 // BLOCK, size // BLOCK)
    places = random.Random(trial.number).sample(blocks, trial.sizes.cold_reads)
    drop_caches()
    before = device.traffic()
    trial.timed("scattered", read_places, file, places)
    wait_until("nothing more comes", lambda: is_quiet(device))
    if before["bytes"] is not None:
        trial.note("scattered.bytes", (device.traffic()["bytes"] - before["bytes"]) / 1e6)


def is_quiet(device):
    """Waits a moment; says if nothing was received in it."""
    before = device.traffic()["bytes"]
    time.sleep(QUIET if before is not None else 0)
    return device.traffic()["bytes"] == before


def status(trial, device):
    work_tree = device.directory / trial.base.name / "clone"
    drop_caches()
    trial.timed("status", git, "-C", work_tree, "status", "--porcelain")
    if trial.contestant.name == "miaofs":
        fetched = [
            path
            for directory, directories, names in os.walk(work_tree)
            for path in names_but_git(directory, directories, names)
            if os.getxattr(path, "user.miaofs.state") != b"remote"
        ]
        trial.note("status.fetched", len(fetched))


def names_but_git(directory, directories, names):
    if ".git" in directories:
        directories.remove(".git")
    return [os.path.join(directory, name) for name in names]


def cold_read(trial, device):
    """The ranges are read next to it in time, now before and now after."""

    size, file = trial.sizes.large * MIB, device.directory / trial.base.name / "large"

    def by_mount():
        drop_caches()
        trial.timed("cold", read, file, size)
        run("cmp", file, trial.inputs.large)

    def by_ranges():
        trial.contestant.ranges.sign_in()
        drop_caches()
        path = f"/{trial.base.name}/large"
        took = seconds(trial.contestant.ranges.read, path, size)
        trial.note("cold", took, contestant="ranges")

    works = [by_mount]
    if getattr(trial.contestant, "ranges", None):
        works.insert(trial.number % 2, by_ranges)
    for work in works:
        work()


def tidy(trial):
    (trial.base / "large").unlink()


def entries(trial):
    names = entry_names(trial.contestant.directory / f"entries-{trial.number}", trial.sizes.entries)
    os.mkdir(os.path.dirname(names[0]))
    trial.timed_until_settled("entries.create", "entries.server", create_all, names)
    trial.quiet()
    trial.timed("entries.rename", rename_all, names)
    trial.quiet()


def entry_names(directory, count):
    return [f"{directory}/file-{number:07}" for number in range(count)]


def create_all(names):
    for name in names:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))


def rename_all(names):
    for name in names:
        os.rename(name, f"{name}-renamed")


def remove(trial):
    trial.quiet()
    trial.timed("rm", run, "rm", "-rf", trial.base / "doomed")
    trial.quiet()


def remove_entries(trial):
    trial.quiet()
    trial.timed("entries.remove", run, "rm", "-rf", trial.contestant.directory / f"entries-{trial.number}")
    trial.quiet()


def read(path, size):
    """Reads all of a file, which must have so many bytes."""
    got, buffer = 0, bytearray(MIB)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            got += count
    if got != size:
        raise OSError(f"{path} gave {got} of {size} bytes")


def read_head(path):
    with open(path, "rb", buffering=0) as file:
        if len(file.read(HEAD)) != HEAD:
            raise OSError(f"{path} gave less than its first {HEAD} bytes")


def read_places(path, places):
    """Reads blocks of 4 KiB at these numbers."""
    file = os.open(path, os.O_RDONLY)
    try:
        for place in places:
            if len(os.pread(file, BLOCK, place * BLOCK)) != BLOCK:
                raise OSError(f"{path} gave less than there is at block {place}")
    finally:
        os.close(file)


@dataclasses.dataclass(frozen=True)
class Step:
    """Something that is done in each round; `rows` of the table come of it, and `needs` must have been done."""

    name: str
    work: object
    rows: tuple = ()
    needs: tuple = ()
    is_long: bool = False  # left to those who can be asked for very many files


FIRST = (
    Step("small", small, ("small", "small.server")),
    Step("untar", untar, ("untar", "untar.server")),
    Step("clone", clone, ("clone", "clone.server")),
    Step("tree", tree, ("tree", "tree.server"), is_long=True),
    Step("doom", doom, is_long=True),
    Step("ls", ls, ("ls.cold", "ls.warm")),
    Step("cp", large, ("cp", "cp.server", "read", "read.again", "random"), needs=("tidy",)),
    Step(
        "cold",
        cold,
        ("cold", "first", "first.bytes", "first.requests", "scattered", "scattered.bytes", "status", "status.fetched"),
        needs=("cp", "clone", "tidy"),
    ),
    Step("tidy", tidy),
)
SECOND = (Step("entries", entries, ("entries.create", "entries.server", "entries.rename"), is_long=True),)
LAST = (
    Step("rm", remove, ("rm",), needs=("doom",), is_long=True),
    Step("remove-entries", remove_entries, ("entries.remove",), needs=("entries",), is_long=True),
)
PHASES = (FIRST, SECOND, LAST)
ALL = tuple(step for phase in PHASES for step in phase)


def with_needs(names):
    """These steps and those that they need, by name."""
    wanted = set(names)
    for step in (*reversed(ALL), *reversed(ALL)):  # what is needed needs no more than one further
        if step.name in wanted:
            wanted.update(step.needs)
    return wanted
