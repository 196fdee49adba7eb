"""Claim: EM on a histogram comes to its end sooner than EM on pixels to a rough one.

The peer is scikit-learn's mixture of as many Gaussians on the same brain pixels, from one start
and with its own tolerance of 1e-3. Ours has the uniform class besides and several starts, and goes
on until its means move no more.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.mixture import GaussianMixture

from benchmarks.evaluation import made_up_slices
from benchmarks.measurement import Measurement, compared
from study.cluster.memory import keep_freed
from trainables.models.gmm import GMMParams, Model

N_SUBJECTS = 3


def measure() -> list[Measurement]:
    torch.set_num_threads(1)
    keep_freed()
    slices = made_up_slices().between(0, N_SUBJECTS)
    batch = slices.batch(slice(0, len(slices)))
    pixels = batch.images_BHW[batch.brain_BHW].astype(np.float64)[:, None]
    params = GMMParams(gmm_lambda=0.1)

    def ours() -> None:
        for _ in Model(params, seed=0).fit(slices, None, 1):
            pass

    def peers() -> None:
        GaussianMixture(params.n_gaussians, random_state=0).fit(pixels)

    return [
        compared(
            "gmm_vs_sklearn",
            f"mixture of {params.n_gaussians} Gaussians on {len(pixels) / 1e6:.1f} M brain pixels",
            "scikit-learn, one start",
            ours,
            peers,
        )
    ]
