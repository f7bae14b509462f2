"""The rows of the table, and what this project's mount wants to reach in each.

A goal is judged in each round by the figures of that round, and as a whole by the medians.
"""

import dataclasses
import statistics

SUBJECT = "miaofs"  # whom the goals are for


@dataclasses.dataclass(frozen=True)
class Goal:
    """A limit that is made of what others took: `of(name)` is the figure of a contestant, None where it has none."""

    text: str
    limit: object

    def judge(self, row, results):
        """What came out, as text; None where there is nothing to judge."""
        own = [figure for figure in results.get(SUBJECT, []) if figure is not None]
        if not own:
            return "failed" if results.get(SUBJECT) else None
        limit = self.limit(lambda name: median(results.get(name, [])))
        if limit is None:
            return None
        rounds = [
            row.is_within(figure, bound)
            for number, figure in enumerate(results[SUBJECT])
            if figure is not None and (bound := self.limit(lambda name, number=number: of_round(results.get(name, []), number))) is not None
        ]
        met = row.is_within(median(own), limit)
        verdict = "met" if met else "missed"
        if rounds and all(rounds) != met or len(set(rounds)) > 1:
            verdict += f" ({sum(rounds)} of {len(rounds)} rounds)"
        return f"{verdict}, limit {row.show(limit)}"


def median(figures):
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def of_round(figures, number):
    return figures[number] if number < len(figures) else None


def at_most(limit, text):
    return Goal(text, lambda of: limit)


def times(factor, name="native"):
    return Goal(f"≤ {factor} x {name}", lambda of: scaled(factor, of(name)))


def at_least(factor, name="native"):
    """For figures that are better when they are more."""
    return Goal(f"≥ {factor} of {name}", lambda of: scaled(factor, of(name)))


def more_of(first, second):
    """Either of two goals of `times` is enough."""

    def limit(of):
        limits = [first.limit(of), second.limit(of)]
        return max((limit for limit in limits if limit is not None), default=None)

    return Goal(f"{first.text} or {second.text}", limit)


def scaled(factor, figure):
    return None if figure is None else factor * figure


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: a figure of each contestant in each round."""

    key: str
    title: str
    goals: tuple = ()
    unit: str = "s"
    more_is_better: bool = False

    def is_within(self, figure, limit):
        return figure >= limit if self.more_is_better else figure <= limit

    def show(self, figure):
        if self.unit == "s":
            return f"{figure:.3f}" if figure < 100 else f"{figure:.1f}"
        return f"{figure:,.1f}" if figure < 1000 and figure != int(figure) else f"{figure:,.0f}"


FEW = more_of(times(2), times(1.3, "pass-through"))

# Titles take their sizes from inputs.Sizes.
ROWS = (
    Row("cp", "cp {large:,} MiB, until close", (times(1.6), dataclasses.replace(times(1.15), text="≤ 1.15 x native by passthrough"))),
    Row("cp.server", "… until on the server (native: cp twice, and sync)", (times(1.3),)),
    Row("read", "read it, first time after writing", (times(1.1),)),
    Row("read.again", "read it again", (times(1.1),)),
    Row("random", "4 KiB at random from it, warm", (at_least(0.9),), "1/s", True),
    Row("cold", "read it cold", (Goal("≥ 0.8 of ranges' rate", lambda of: scaled(1 / 0.8, of("ranges"))),)),
    Row("first", "first 64 KiB of a cold file of {scattered:,} MiB"),
    Row("first.bytes", "… received", (), "KiB"),
    Row("first.requests", "… requests", (), ""),
    Row("scattered", "{cold_reads:,} x 4 KiB at random from it, cold", (at_most(0.5, "≤ 0.5 s"),)),
    Row("scattered.bytes", "… received", (at_most(40, "≤ 40 MB"),), "MB"),
    Row("small", "create {small:,} x 4 KiB", (at_most(0.2, "≤ 0.2 s"), times(1.5, "pass-through"))),
    Row("small.server", "… until on the server", (at_most(1, "≤ 1 s"),)),
    Row("ls.cold", "ls -l of {listed:,}, from the disk", (times(1.5, "pass-through"),)),
    Row("ls.warm", "ls -l of {listed:,}, warm", (times(1.5, "pass-through"),)),
    Row("untar", "untar {archived:,} files", (FEW,)),
    Row("untar.server", "… until on the server"),
    Row("clone", "git clone of them", (FEW,)),
    Row("clone.server", "… until on the server"),
    Row("status", "git status of it on a second device, cold", (times(3),)),
    Row("status.fetched", "… files of the work tree that were fetched", (at_most(0, "none"),), ""),
    Row("tree", "cp -r of {tree:,} small files", (times(2.5),)),
    Row("tree.server", "… until on the server"),
    Row("rm", "rm -rf of {doomed:,}", (FEW,)),
    Row("entries.create", "{entries:,} entries in a directory: create", (times(4),)),
    Row("entries.server", "… until on the server"),
    Row("entries.rename", "{entries:,} entries: rename each", (times(4),)),
    Row("entries.remove", "{entries:,} entries: rm -rf", (times(4),)),
)
