"""The table: medians, the least and the most, and how each goal stands."""

import statistics

from goals import ROWS


def table(results, names, sizes, keys, judged):
    """Lines of text, one row of the table a line; goals are judged where sizes are those that they are meant for."""
    lines = [["median (least–most)", *names, "goal", "and"]]
    for row in ROWS:
        if row.key not in keys or row.key not in results:
            continue
        title = row.title.format(**vars(sizes)) + (f", {row.unit}" if row.unit not in ("s", "") else "")
        cells = [cell(row, results[row.key].get(name, [])) for name in names]
        lines.append([title, *cells, *goals(row, results[row.key], judged)])
    return "\n".join(aligned(lines))


def goals(row, results, judged):
    """The goals of a row and how they stand, as two cells."""
    verdicts = [goal.judge(row, results) if judged else None for goal in row.goals]
    return "; ".join(goal.text for goal in row.goals), "; ".join(verdict or "not judged" for verdict in verdicts)


def cell(row, figures):
    known = [figure for figure in figures if figure is not None]
    if not figures:
        return "–"
    if not known:
        return "failed"
    spread = f" ({row.show(min(known))}–{row.show(max(known))})" if len(known) > 1 else ""
    failed = f", {len(figures) - len(known)} failed" if len(known) < len(figures) else ""
    return f"{row.show(statistics.median(known))}{spread}{failed}"


def aligned(lines):
    """Figures stand to the right, words to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    last = len(widths) - 2
    for line in lines:
        cells = [
            text.rjust(width) if 0 < column < last else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def as_json(results, sizes, keys, judged):
    """The same for programs: every figure of every round."""
    return [
        {
            "row": row.key,
            "title": row.title.format(**vars(sizes)),
            "unit": row.unit,
            "more_is_better": row.more_is_better,
            "figures": results[row.key],
            "goals": [{"goal": goal.text, "verdict": goal.judge(row, results[row.key]) if judged else None} for goal in row.goals],
        }
        for row in ROWS
        if row.key in keys and row.key in results
    ]
