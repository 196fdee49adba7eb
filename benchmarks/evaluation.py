"""Claim: measuring a network's scores costs little beside computing them.

The peer is the forward pass of the same network alone, as torch's own modules compute it, in
batches as an evaluation has them: below 1, the ratio tells how much more an evaluation costs.
Memory is kept as in a worker.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.measurement import Measurement, compared
from benchmarks.rebuild import paper_network
from study.cluster.memory import keep_freed
from trainables.evaluate import evaluate
from trainables.models.gmm import Model as Mixture
from trainables.models.vae import Model as Variational
from trainables.slices import Slices

N_SUBJECTS, N_SLICES, BATCH = 10, 100, 64


def measure() -> list[Measurement]:
    torch.set_num_threads(1)
    keep_freed()
    test = made_up_slices()
    rows = [_of_network(test, n_c, wanted) for n_c, wanted in ((8, 1 / 1.5), (32, 1 / 1.12))]
    return [*rows, _of_mixture(test)]


def _of_network(test: Slices, n_c: int, wanted: float) -> Measurement:
    params = {"n_c": n_c, "n_z": 64, "batch_size": BATCH}
    detector = Variational(Variational.Params.model_validate(params), seed=0)
    for _ in detector.fit(test.between(0, 1), None, 1):
        pass  # so that its scores are not those of noise alone

    network = paper_network(n_c, 64, "vae")
    network.load_state_dict(detector._network.state_dict())
    network.eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        for start in range(0, len(test), BATCH):
            images = torch.from_numpy(test.images(slice(start, start + BATCH))).float()
            code = network.encoder.last(network.encoder.trunk(images.unsqueeze(1)))
            network.decoder.last(network.decoder.trunk(code[:, : code.shape[1] // 2]))

    return compared(
        f"evaluation_nc{n_c}",
        f"evaluation of a VAE, N_c {n_c}, four scores",
        "forward pass alone, torch's modules",
        lambda: evaluate(detector, test),
        forward,
        wanted=wanted,
    )


def _of_mixture(test: Slices) -> Measurement:
    detector = Mixture(Mixture.Params.model_validate({"gmm_lambda": 0.1}), seed=0)
    for _ in detector.fit(test, None, 1):
        pass

    def scores() -> None:
        for start in range(0, len(test), BATCH):
            batch = test.batch(slice(start, start + BATCH))
            detector.score(batch.images_BHW, batch.brain_BHW)

    return compared(
        "evaluation_gmm",
        "evaluation of a mixture, two scores",
        "its scores alone",
        lambda: evaluate(detector, test),
        scores,
    )


def made_up_slices() -> Slices:
    """Smooth noise in ellipsoids, with a darker lesion in each."""
    rng = np.random.default_rng(0)
    n = N_SUBJECTS * N_SLICES
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    z_N11 = np.tile(np.linspace(-0.9, 0.9, N_SLICES), N_SUBJECTS)[:, None, None]
    brain_NHW = (x**2 / 0.55 + y**2 / 0.8)[None] + z_N11**2 < 1
    lesion_NHW = ((x - 0.2) ** 2 + (y - 0.1) ** 2)[None] * 25 + (z_N11 - 0.1) ** 2 * 20 < 1
    lesion_NHW &= brain_NHW
    waves = 0.2 * np.sin(9 * x + 4 * y)[None] * np.cos(5 * z_N11)
    noise = 0.05 * rng.standard_normal((n, 128, 128), dtype=np.float32)
    images_NHW = np.where(brain_NHW, 1 + waves + noise, 0) * np.where(lesion_NHW, 0.6, 1)
    number_N = np.repeat(np.arange(N_SUBJECTS, dtype=np.int32), N_SLICES)
    return Slices(
        images_NHW=np.clip(images_NHW, 0, None).astype(np.float16),
        brain_bits_NK=np.packbits(brain_NHW.reshape(n, -1), axis=1),
        lesion_bits_NK=np.packbits(lesion_NHW.reshape(n, -1), axis=1),
        subject_N=number_N,
        slice_index_N=np.tile(np.arange(N_SLICES, dtype=np.int32), N_SUBJECTS),
        subjects=tuple(f"waves/{i:02d}" for i in range(N_SUBJECTS)),
        scan_N=number_N.copy(),
        voxel_ml_N=np.full(n, 0.002),
    )
