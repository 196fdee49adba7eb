"""Eight VAEs whose losses ``benchmarks.asha`` replays, on real scans."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=tuple(
        GridTrial("vae", {"n_c": n_c, "n_z": n_z, "batch_size": 16}, epochs=9)
        for n_c in (2, 4)
        for n_z in (8, 32, 128, 512)
    ),
    searches=(),
    modalities=("T1w",),
    phantom_subjects={},
)
