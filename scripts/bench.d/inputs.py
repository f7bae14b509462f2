"""What is copied, unpacked, cloned and listed: files on the disk that all contestants take theirs from.

What a round copies has bytes that no server has yet. Nothing of many files is removed before the end: ext4 makes new files slowly
for minutes after that.
"""

import dataclasses
import os
import tarfile

from machine import MIB, git


@dataclasses.dataclass
class Sizes:
    """How much of each there is; sizes in MiB, all others counts."""

    large: int = 1024
    scattered: int = 512
    small: int = 2000
    listed: int = 10_000
    archived: int = 3000
    tree: int = 30_000
    doomed: int = 10_000
    entries: int = 100_000
    warm_reads: int = 100_000
    cold_reads: int = 500

    @classmethod
    def quick(cls):
        """Enough to see that everything works, and for no figure that means anything."""
        return cls(32, 16, 200, 500, 300, 600, 500, 1000, 2000, 50)


class Inputs:
    """Files of a run, and those of the present round."""

    def __init__(self, scratch, sizes):
        self.scratch = scratch
        self.sizes = sizes
        self.large = scratch / "large"
        self.scattered = scratch / "scattered"
        self.listed = scratch / "listed"
        self.archive = scratch / "tree.tar"
        self.tree = scratch / "many"
        self.repository = None
        self.small = []
        fill(self.scattered, sizes.scattered)
        self.listed.mkdir()
        for number in range(sizes.listed):
            (self.listed / f"file-{number:05}").touch()
        for number in range(sizes.tree):
            path = self.tree / f"{number // 1000:02}" / f"{number % 1000 // 50:02}" / f"file-{number:05}"
            if number % 50 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(500 + number * 13 % 7500))

    def renew(self, number):
        """Makes what a round copies: the same sizes and names as ever, other bytes."""
        fill(self.large, self.sizes.large)
        block = os.urandom(4096)
        stamp = os.urandom(16)
        self.small = [index.to_bytes(4, "big") + stamp + block[20:] for index in range(self.sizes.small)]
        for directory, _, names in os.walk(self.tree):
            for name in names:
                with open(os.path.join(directory, name), "r+b", buffering=0) as file:
                    file.write(stamp)
        self.repository = self.scratch / f"repository-{number}"
        for index in range(self.sizes.archived):
            path = self.repository / f"directory-{index // 50:02}" / f"source-{index:04}"
            if index % 50 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(500 + 5 * index))
        with tarfile.open(self.archive, "w") as archive:
            archive.add(self.repository, "tree")
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all of it"]):
            git("-C", self.repository, *words)


def fill(path, size):
    """Fills a file with so many MiB of new bytes."""
    with open(path, "wb") as file:
        file.writelines(os.urandom(MIB) for _ in range(size))
