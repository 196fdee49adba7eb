"""Grids that only tests have, for ``study.run`` in a process of its own."""

from __future__ import annotations

from pathlib import Path

SMOKE_WORDS = ("--grid", "smoke", "--epochs", "4", "--precision", "float32")
"""The grid ``smoke``, a little shorter, in the arithmetic that every machine has."""

TINY = '''
"""One network, two lambdas, the baseline."""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        GridTrial("ae", {"n_c": 8, "n_z": 8, "batch_size": 32}, epochs=2),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.001)),),
    phantom_subjects={},
)
'''


def run_words(folder: Path, name: str, grid: str = TINY, before: str = "") -> list[str]:
    """The words after the interpreter that run a study of a grid that is not the project's.

    Args:
        folder: Where the grid's file goes.
        name: Of the grid.
        grid: Its file.
        before: Statements to run before the project is loaded.
    """
    (folder / "grids").mkdir(exist_ok=True)
    (folder / "grids" / f"{name}.py").write_text(grid)
    code = (
        f"{before}\nimport study.grids; study.grids.__path__.append({str(folder / 'grids')!r}); "
        "from study import cli; from study.run.command import app; cli.run(app)"
    )
    return ["-c", code, "--grid", name, "--study", "s"]
