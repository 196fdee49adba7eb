"""What a newcomer sees: every model in both modalities, N_c 8 and 16 by N_z 8 and 64, all lambdas.

8 epochs in batches of 16: some 370 steps on the phantom's 14 healthy training subjects. More of
them need no other grid: ``--epochs``.
"""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(
            GridTrial(model, {"n_c": n_c, "n_z": n_z, "batch_size": 16}, epochs=8)
            for model in ("ae", "dae", "vae")
            for n_c in (8, 16)
            for n_z in (8, 64)
        ),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.01, 0.001, 0.0001)),),
    phantom_subjects={"ixi": 16, "atlas": 6, "brats": 6},
)
