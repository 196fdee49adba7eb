"""Claim: the streaming ROC is as fast as scikit-learn's exact one, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.measurement import Measurement, paired
from trainables.roc import RocAccumulator

N_PIXELS = 5_000_000


def measure() -> list[Measurement]:
    rng = np.random.default_rng(0)
    positive = rng.random(N_PIXELS) < 0.03
    scores = (rng.standard_cauchy(N_PIXELS) + positive).astype(np.float32) ** 2

    def ours() -> tuple[float | None, float | None]:
        accumulator = RocAccumulator()
        for start in range(0, N_PIXELS, 1 << 18):
            rows = slice(start, start + (1 << 18))
            accumulator.update(scores[rows], positive[rows])
        return accumulator.auc(), accumulator.average_precision()

    def peers() -> tuple[float, float]:
        return roc_auc_score(positive, scores), average_precision_score(positive, scores)

    ours_s, peers_s = paired(ours, peers)
    ours_mib, peers_mib = _peak_mib(ours), _peak_mib(peers)
    claim = f"AUC and AP of {N_PIXELS / 1e6:.0f} M pixels, Cauchy squared"
    name = "scikit-learn, all at once"
    return [
        Measurement(f"{claim}: time", ours_s, "s", name, peers_s, peers_s / ours_s),
        Measurement(f"{claim}: memory", ours_mib, "MiB", name, peers_mib, peers_mib / ours_mib),
    ]


def _peak_mib(function: Callable[[], object]) -> float:
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
