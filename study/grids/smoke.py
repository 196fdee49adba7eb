"""Every model in both modalities, as small as it gets: a minute or two, to see that all works.

One cell of the networks (N_c 8, N_z 16) for 15 epochs in batches of 16, two lambdas, the baseline.
"""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(
            GridTrial(model, {"n_c": 8, "n_z": 16, "batch_size": 16}, epochs=15)
            for model in ("ae", "dae", "vae")
        ),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.001)),),
    phantom_subjects={"ixi": 5, "atlas": 3, "brats": 3},
)
