"""The study of Sato et al., whole: 126 networks, 4 lambdas a modality, the baseline.

AE, DAE and VAE over N_z in {8, 16, 32, 64, 128, 256, 512} x N_c in {8, 16, 32}, in both
modalities. The paper states neither epochs nor batch size. Here a batch is 32 slices and training
takes 10 epochs: on IXI's 579 subjects with about 100 slices each that is some 1,600 steps an epoch
and 16,000 in all. ``--epochs`` fits it to other data; raising it later continues the training.
"""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(
            GridTrial(model, {"n_c": n_c, "n_z": n_z, "batch_size": 32}, epochs=10)
            for model in ("ae", "dae", "vae")
            for n_c in (8, 16, 32)
            for n_z in (8, 16, 32, 64, 128, 256, 512)
        ),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.01, 0.001, 0.0001)),),
    phantom_subjects={"ixi": 20, "atlas": 8, "brats": 8},
)
