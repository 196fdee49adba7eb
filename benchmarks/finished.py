"""Claim: a study of ten thousand finished records starts, finds nothing to do and ends at once.

The command is the user's own, as a process of its own: imports, scans looked at, plan, index and
report included. It is measured in turn with the same on a study of twelve records. The scans are
the phantom's, prepared by a smoke study, which takes a minute or two, as does writing the records;
``FINISHED_STORE`` names a folder to keep all that in, or to find it in.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measurement import Measurement, seconds
from benchmarks.synthetic_store import Wanted, write_study
from datasets.storage import Storage
from study.grids._grid import Grid, load_grid
from study.plan.plan import build_plan
from study.records.studies import StudyStore

SEEDS = 74
"""Each is 136 trials of the paper's grid."""

ROUNDS = 3
LIMIT_S = 5.0
MANY, FEW = "many", "smoke-phantom"

_GRID = '''"""The paper's grid on the smoke grid's phantom."""

from dataclasses import replace

from study.grids import paper, smoke

GRID = replace(paper.GRID, phantom_subjects=smoke.GRID.phantom_subjects)
'''


def measure() -> list[Measurement]:
    given = os.environ.get("FINISHED_STORE")
    if given:
        return measure_on(Path(given))
    with tempfile.TemporaryDirectory() as folder:
        return measure_on(Path(folder))


def measure_on(folder: Path) -> list[Measurement]:
    """Run both studies again and again; what is missing in the folder is written first."""
    store = folder / "runs"
    grids = folder / "grids"
    grids.mkdir(parents=True, exist_ok=True)
    (grids / f"{MANY}.py").write_text(_GRID)
    few = _command(grids, store, "smoke", FEW, 1)
    many = _command(grids, store, MANY, MANY, SEEDS)
    _run(few)
    if StudyStore.open(Storage.open(str(store)), MANY).study() is None:
        _write(store)
    planned = _planned(store)
    if f"{planned} of {planned} trials done, 0 failed" not in _run(many):
        raise RuntimeError(f"the study {MANY!r} in {str(store)!r} is not finished; delete it")
    times = [(seconds(lambda: _run(many)), seconds(lambda: _run(few))) for _ in range(ROUNDS)]
    ours, small = (statistics.median(x) for x in zip(*times, strict=True))
    claim = f"finished study, {planned:,} records"
    return [
        Measurement(
            f"{claim}: the whole command", ours, "s", "limit", LIMIT_S, LIMIT_S / ours, 1.0
        ),
        Measurement(f"{claim}: the same", ours, "s", "12 records", small, small / ours),
    ]


def _write(store: Path) -> None:
    """Made-up records of every trial that the command will plan."""
    before = StudyStore.open(Storage.open(str(store)), FEW).study()
    if before is None:
        raise RuntimeError(f"the smoke study has left no record in {str(store)!r}")
    grid: Grid = load_grid("paper")
    plan = build_plan(grid, before.cohorts, seeds=range(SEEDS), epochs=None)
    wanted = Wanted(trials=len(plan.trials), full=False, failed=0)
    write_study(store, MANY, before.cohorts, plan, wanted)


def _planned(store: Path) -> int:
    record = StudyStore.open(Storage.open(str(store)), MANY).study()
    return len(record.trials) if record is not None else 0


def _command(grids: Path, store: Path, grid: str, study: str, seeds: int) -> list[str]:
    """``python -m study.run``, with another folder to find grids in."""
    code = (
        f"import study.grids; study.grids.__path__.append({str(grids)!r}); "
        "from study import cli; from study.run.command import app; cli.run(app)"
    )
    words = ["--grid", grid, "--study", study, "--seeds", str(seeds), "--store", str(store)]
    return [sys.executable, "-c", code, *words]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ended with status {done.returncode}: {done.stderr}")
    return done.stdout
