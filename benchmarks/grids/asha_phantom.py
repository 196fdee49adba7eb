"""Fourteen VAEs whose losses ``benchmarks.asha`` replays, on the phantom."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=tuple(
        GridTrial("vae", {"n_c": n_c, "n_z": n_z, "batch_size": 16}, epochs=9)
        for n_c in (4, 8)
        for n_z in (8, 16, 32, 64, 128, 256, 512)
    ),
    searches=(),
    modalities=("T1w",),
    phantom_subjects={"ixi": 16, "atlas": 8, "brats": 8},
)
