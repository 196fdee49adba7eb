"""The paper's claim and its two controls, with two seeds, trained until little moves.

AE, DAE and VAE at N_c 8 and N_z 8 and 64 beside AE-U, which predicts a variance and is not
variational, and a VAE that predicts none. AE-U has half the VAE's N_z, too: a latent vector of the
same length. 24 epochs in batches of 16: for studies of some twenty healthy scans, which two cores
finish in about an hour.
"""

from study.grids._grid import Grid, GridSearch, GridTrial

SIZES = {
    "ae": (8, 64),
    "dae": (8, 64),
    "vae": (8, 64),
    "vae_fixed": (8, 64),
    "aeu": (4, 8, 32, 64),
}
"""N_z by model."""

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        GridTrial("equalized"),
        *(
            GridTrial(model, {"n_c": 8, "n_z": n_z, "batch_size": 16}, epochs=24)
            for model, sizes in SIZES.items()
            for n_z in sizes
        ),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.01, 0.001, 0.0001)),),
    phantom_subjects={"ixi": 16, "atlas": 6, "brats": 6},
    n_seeds=2,
)
