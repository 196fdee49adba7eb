"""The paper's best cells beside detectors that the paper lacks, with three seeds.

What tells why the VAE's normalised error is better: a VAE with a fixed variance, which predicts no
uncertainty, and AE-U, which predicts it and is not variational. AE-U runs with half the VAE's N_z
too, which is the same length of the latent vector. What the paper does not compare with: the U-Net
that is trained on coarse noise, at N_c 16 and as published at 64, and equalised intensity. The
mixture's lambda is searched by TPE from 1e-6 to 1.

The networks' structural dissimilarity and the gradient of the VAEs' divergence are computed here
and in no other grid. Epochs and batches are those of the grid ``paper``; the U-Net has its own
batches of 16.
"""

from study.grids._grid import Grid, GridSearch, GridTrial

BATCH_SIZE, EPOCHS = 32, 10
DISSIMILARITY = ("ssim_residual",)
BOTH = ("ssim_residual", "kl_gradient")

AE_CELLS = ((16, 8), (16, 16), (16, 256))
VAE_CELLS = ((16, 16), (16, 128), (16, 256), (32, 8), (32, 16))


def _trial(model: str, n_c: int, n_z: int, scores: tuple[str, ...]) -> GridTrial:
    return GridTrial(model, {"n_c": n_c, "n_z": n_z, "batch_size": BATCH_SIZE}, EPOCHS, scores)


AEU_CELLS = sorted({*VAE_CELLS, *((n_c, n_z // 2) for n_c, n_z in VAE_CELLS)})

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        GridTrial("equalized"),
        *(_trial(model, *cell, DISSIMILARITY) for model in ("ae", "dae") for cell in AE_CELLS),
        *(_trial(model, *cell, BOTH) for model in ("vae", "vae_fixed") for cell in VAE_CELLS),
        *(_trial("aeu", *cell, DISSIMILARITY) for cell in AEU_CELLS),
        *(GridTrial("dae_coarse", {"n_c": n_c}, EPOCHS, DISSIMILARITY) for n_c in (16, 64)),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", low=1e-6, high=1.0, n_trials=24),),
    phantom_subjects={"ixi": 20, "atlas": 8, "brats": 8},
    n_seeds=3,
)
