"""How often the intervals of reports hold the true figure, and what the choice of cells adds.

``python -m benchmarks coverage`` simulates test sets whose truth is known (benchmarks/simulated.py)
and prints, for each kind of lesion and number of subjects, the share of intervals of 95 % that hold
the true figure; then how much too high the best of 21 cells is as it is, by bootstrap bias
correction and by repeated splits; then how often two equal cells are told apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from benchmarks.simulated import DISEASES, TRUTH_SUBJECTS, Cells, Disease, draw, truth
from study.report.comparisons import by_holm, compare, in_sequence
from study.report.selection import honest, pairs_of
from study.report.statistics import all_intervals, is_approximate, n_effective, n_with_lesion

N_SUBJECTS = (10, 30, 100, 220)
N_CELLS = 21
CELL_SPREAD = 0.02
"""Standard deviation of the shifts of the cells that are chosen from."""


def coverage(
    disease: Disease, n: int, repetitions: int, *, n_truth: int = TRUTH_SUBJECTS
) -> dict[str, float]:
    """Share of test sets whose intervals hold the truth, by figure; the mean n_eff beside them."""
    known = {name: float(value) for name, value in truth(disease, n=n_truth)[0].named().items()}
    rng = np.random.default_rng([0, n])
    hits = dict.fromkeys(known, 0)
    told = dict.fromkeys(known, 0)
    approximate = dict.fromkeys(known, 0)
    effective = 0.0
    for _ in range(repetitions):
        (counts,) = draw(disease, n, rng)
        effective += n_effective(counts) / repetitions
        for name, found in all_intervals(counts).items():
            if found is not None:
                told[name] += 1
                hits[name] += found.low <= known[name] <= found.high
                approximate[name] += is_approximate(
                    name, n_with_lesion(counts), n_effective(counts)
                )
    shares = {name: hits[name] / max(told[name], 1) for name in known}
    called = {f"{name} approximate": approximate[name] / max(told[name], 1) for name in known}
    return {**shares, **called, "n_eff": effective}


def bias_of_choice(
    disease: Disease, n: int, repetitions: int, *, n_truth: int = 60_000
) -> dict[str, float]:
    """Mean of the chosen cell's figure less its true AUC, as it is and by both corrections."""
    shifts = CELL_SPREAD * np.random.default_rng(2).standard_normal(N_CELLS)
    cells = Cells(shifts)
    known = np.array([float(some.auc) for some in truth(disease, cells, n_truth)])
    rng = np.random.default_rng([0, n])
    off: dict[str, list[float]] = {"naive": [], "BBC": [], "splits": []}
    for _ in range(repetitions):
        pairs = [pairs_of(counts) for counts in draw(disease, n, rng, cells)]
        every = np.ones(n)
        aucs = [
            float(every @ p.right @ every / (p.positives.sum() * p.negatives.sum())) for p in pairs
        ]
        found = honest(pairs)
        if found is None:
            continue
        true = known[int(np.argmax(aucs))]
        for name, value in zip(off, (found.naive, found.selected, found.split), strict=True):
            off[name].append(value - true)
    return {name: float(np.mean(values)) for name, values in off.items()}


def false_claims(disease: Disease, n: int, repetitions: int) -> dict[str, float]:
    """How often any of some equal rows is told apart, in sequence and among all pairs."""
    names = ("U", "SE", "L", "E", "AE", "DAE", "sum", "outlier_sum")
    cells = Cells(np.zeros(len(names)), 0.3)
    rng = np.random.default_rng([0, n])
    sequence, pairs = 0, 0
    for _ in range(repetitions):
        drawn = draw(disease, n, rng, cells)
        counts = {name: [one] for name, one in zip(names, drawn, strict=True)}
        claim = [compare(*two, counts) for two in pairwise(names[:4])]
        sequence += any(one is not None and one.is_separated for one in in_sequence(claim))
        every = [compare(a, b, counts) for i, a in enumerate(names) for b in names[i + 1 :]]
        known = [one for one in every if one is not None]
        pairs += any(one.is_separated for one in by_holm(known))
    return {"sequence": sequence / repetitions, "Holm": pairs / repetitions}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--subjects", type=int, nargs="+", default=list(N_SUBJECTS))
    parser.add_argument("--only", choices=("coverage", "choice", "pairs"), nargs="+")
    options = parser.parse_args(arguments)
    parts = options.only or ("coverage", "choice", "pairs")
    for name, disease in DISEASES.items():
        for n in options.subjects:
            line = [f"{name:8s} n {n:3d}"]
            if "coverage" in parts:
                found = coverage(disease, n, options.repetitions)
                line += [f"{key} {value:.3f}" for key, value in found.items()]
            if "choice" in parts:
                off = bias_of_choice(disease, n, max(options.repetitions // 10, 1))
                line += [f"{key} {value:+.4f}" for key, value in off.items()]
            if "pairs" in parts:
                claims = false_claims(disease, n, max(options.repetitions // 4, 1))
                line += [f"{key} {value:.3f}" for key, value in claims.items()]
            print("  ".join(line), flush=True)


if __name__ == "__main__":
    main()
