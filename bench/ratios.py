#!/usr/bin/env python3
"""Print the targets of a comparison with pgBackRest, and what bench/peers.sh has measured, as Markdown.

Usage: ratios.py RESULTS.TSV [RESULTS.TSV...]

Each file is one run of peers.sh; figures are compared within a run only. A ratio is ours by theirs: below one is better.
Walls are medians over the rounds of a run, or sums over the steps of a sequence. Exits with 1 when a target is missed.
"""

import csv
import statistics
import sys

OURS, ALL = "holdfast", "holdfast-all"  # trusting what cannot have changed; reading everything
PLAIN = ("pgbr-zst1-aes", "pgbr-lz4-aes")  # pgBackRest, encrypted: the faster one is compared with
ZST, BLOCK, DELTA = "pgbr-zst1-aes", "pgbr-zst1-aes-block", "pgbr-zst1-aes-delta"
STEPS = ("cluster", "sparse", "spread")
LARGE = 10_000  # MB of a copy, from which on the targets of large databases hold


class Run:
    """One run: its rows by (tool, phase)."""

    def __init__(self, path):
        self.rows = {}
        with open(path, newline="") as f:
            for row in csv.DictReader(f, delimiter="\t"):
                if row["note"].startswith(("ok", "noisy")):
                    self.rows.setdefault((row["tool"], row["phase"]), []).append(row)
        self.size = self.median("bb-plain", "full", "size_mb") or 0

    def values(self, tool, phase, column):
        """The figures of a column; cold rounds are left out."""
        rows = [r for r in self.rows.get((tool, phase), []) if r["cache"] != "cold"]
        columns = ("tool_cpu_s", "server_cpu_s") if column == "cpu" else (column,)
        return [sum(float(r[c]) for c in columns) for r in rows if all(r[c].strip() for c in columns)]

    def median(self, tool, phase, column):
        v = self.values(tool, phase, column)
        return statistics.median(v) if v else None

    def fastest(self, phase):
        """The tool of PLAIN that was faster in the phase."""
        walls = {t: self.median(t, phase, "wall_s") for t in PLAIN}
        walls = {t: w for t, w in walls.items() if w is not None}
        return min(walls, key=walls.get) if walls else ZST

    def total(self, tool, prefix, column):
        """The sum over the phases whose names begin so."""
        v = [x for t, p in self.rows if t == tool and p.startswith(prefix) for x in self.values(t, p, column)]
        return sum(v) if v else None

    def steps(self, tool, kind):
        """The walls and the megabytes added, over the steps of one kind of phase seq; each step gives the size of all."""
        steps = sorted((int(p.split("-")[1]), p) for t, p in self.rows if t == tool and p.startswith("seq-") and p[4].isdigit())
        wall, added, before = None, None, 0.0
        for _, phase in steps:
            size = self.median(tool, phase, "size_mb")
            if kind in phase:
                wall = (wall or 0) + self.median(tool, phase, "wall_s")
                added = (added or 0) + size - before
            before = size
        return wall, added


def table(run):
    """Rows of (what, ours, theirs, tool, unit, target)."""
    large = run.size >= LARGE
    pick = (lambda small, big: big) if large else (lambda small, big: small)
    fast, back = run.fastest("full"), run.fastest("restore")
    m, s, t = run.median, run.steps, run.total
    ours, theirs = {k: s(OURS, k) for k in STEPS}, {k: s(BLOCK, k) for k in STEPS}
    every = lambda of: None if any(added is None for _, added in of.values()) else sum(added for _, added in of.values())
    yield "full, wall", m(OURS, "full", "wall_s"), m(fast, "full", "wall_s"), fast, "s", pick(0.6, 0.85)
    yield "full, CPU", m(OURS, "full", "cpu"), m(fast, "full", "cpu"), fast, "s", pick(1.0, 0.9)
    yield "full, stored", m(OURS, "full", "size_mb"), m(ZST, "full", "size_mb"), ZST, "MB", 1.0
    yield ("incremental, nothing changed, stat trusted", m(OURS, "incr-unchanged", "wall_s"), m(ZST, "incr-unchanged", "wall_s"), ZST, "s", pick(0.15, 0.3))
    yield ("incremental, nothing changed, everything read", m(ALL, "incr-unchanged", "wall_s"), m(DELTA, "incr-unchanged", "wall_s"), DELTA, "s", pick(0.5, 0.6))
    wall = {"cluster": pick(0.6, 0.5), "sparse": 0.6, "spread": pick(0.6, 0.9)}
    for kind in STEPS:
        yield f"sequence, {kind}: wall", ours[kind][0], theirs[kind][0], BLOCK, "s", wall[kind]
    added = {"cluster": 1.0, "sparse": pick(None, 0.7), "spread": pick(None, 1.0)}
    for kind in STEPS:
        yield f"sequence, {kind}: added", ours[kind][1], theirs[kind][1], BLOCK, "MB", added[kind]
    yield "sequence, all: added", every(ours), every(theirs), BLOCK, "MB", pick(1.0, None)
    yield "four weeks, wall", t(OURS, "weeks-full", "wall_s") and t(OURS, "weeks-full", "wall_s") + t(OURS, "weeks-incr", "wall_s"), \
        t(BLOCK, "weeks-full", "wall_s") and t(BLOCK, "weeks-full", "wall_s") + t(BLOCK, "weeks-incr", "wall_s"), BLOCK, "s", 0.4
    yield "four weeks, kept", m(OURS, "weeks-kept", "size_mb"), m(BLOCK, "weeks-kept", "size_mb"), BLOCK, "MB", 0.45
    yield "restore, wall", m(OURS, "restore", "wall_s"), m(back, "restore", "wall_s"), back, "s", pick(0.9, 0.75)
    used = lambda tool: None if m(tool, "start", "wall_s") is None else m(tool, "restore", "wall_s") + m(tool, "start", "wall_s")
    yield "restore, start, and every row read", used(OURS), used(back), back, "s", None
    yield "restore, peak memory of ours", m(OURS, "restore", "peak_pss_mb"), None, "", "MB", None
    yield "full, peak memory of ours", m(OURS, "full", "peak_pss_mb"), None, "", "MB", None


def show(run):
    """Print one run's table, and return how many targets it missed."""
    missed = 0
    print(f"\n## A cluster of {run.size / 1000:.1f} GB\n")
    print("| Work | Ours | pgBackRest | Ratio | Target | |\n|---|---|---|---|---|---|")
    for what, ours, theirs, tool, unit, target in table(run):
        if ours is None:
            continue
        digits = 2 if unit == "s" else 0
        theirs_text = "–" if theirs is None else f"{theirs:.{digits}f} {unit} ({tool.removeprefix('pgbr-')})"
        ratio = None if not theirs else ours / theirs
        verdict = ""
        if target is not None and ratio is not None:
            verdict = "met" if ratio <= target else "**missed**"
            missed += ratio > target
        print(f"| {what} | {ours:.{digits}f} {unit} | {theirs_text} | {'–' if ratio is None else f'{ratio:.2f}'} | {'–' if target is None else f'≤ {target}'} | {verdict} |")
    return missed


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    missed = sum([show(Run(path)) for path in sys.argv[1:]])
    sys.exit(1 if missed else 0)


main()
