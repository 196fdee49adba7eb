"""Claims: a study of a thousand tiny trials costs little beside them, and its driver stays small.

Each trial is the intensity baseline on one small head. Its own work, from slices to records, is
measured in this process on the same disk; what a trial takes of a worker beyond that is overhead:
Ray, Tune, the driver's bookkeeping and heartbeat.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.measurement import Measurement, seconds
from datasets.manifest import read_manifest
from datasets.storage import Storage
from study.cluster.processes import private_gib
from study.plan.done import Work
from study.plan.plan import train_cohorts, train_keys
from study.records.studies import StudyStore
from study.records.types import PlannedTrial, StudyRecord
from study.trials.data import test_slices, train_slices
from study.trials.order import TrialOrder
from study.trials.trial import run_trial
from trainables.slices import Slices

N_TRIALS = 1000
N_ALONE = 50
LIMIT_S = 0.06
STUDY = "many"

_GRID = '''"""The baseline, and nothing else."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(trials=(GridTrial("intensity"),), searches=(), phantom_subjects={})
'''

_COHORTS = """[cohorts.healthy]
source = "bids"
root = "healthy"
role = "train"
[cohorts.stroke]
source = "bids"
root = "stroke"
role = "test"
"""


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_scans(folder)
        wall_s, memory = _run(folder)
        study = StudyStore.open(Storage.open(str(folder / "runs")), STUDY)
        own_s = _own_work(study)
    workers = min(os.cpu_count() or 1, N_TRIALS)
    overhead_s = wall_s * workers / (N_TRIALS - 1) - own_s
    first = statistics.median(m for done, m in memory if done <= N_TRIALS // 10)
    # up to the last trial: at its end the driver loads what makes the report
    running = [(done, m) for done, m in memory if N_TRIALS - N_TRIALS // 10 <= done < N_TRIALS]
    last = statistics.median(m for _, m in running)
    claim = f"{N_TRIALS:,} tiny trials, {workers} workers"
    return [
        Measurement(
            f"{claim}: overhead of a trial",
            1000 * overhead_s,
            "ms",
            "limit",
            1000 * LIMIT_S,
            LIMIT_S / max(overhead_s, 1e-4),
            1.0,
        ),
        Measurement(
            f"{claim}: a trial on a worker",
            1000 * (overhead_s + own_s),
            "ms",
            "its own work",
            1000 * own_s,
            own_s / (overhead_s + own_s),
        ),
        Measurement(
            f"{claim}: the driver's memory in the last hundred",
            1024 * last,
            "MiB",
            "the first hundred",
            1024 * first,
            first / last,
            1 / 1.1,
        ),
    ]


def _run(folder: Path) -> tuple[float, list[tuple[int, float]]]:
    """Seconds from the first finished trial to the last; trials done and the driver's GiB."""
    code = (
        f"import study.grids; study.grids.__path__.append({str(folder / 'grids')!r}); "
        "from study import cli; from study.run.command import app; cli.run(app)"
    )
    words = ["--grid", STUDY, "--study", STUDY, "--seeds", str(N_TRIALS)]
    places = ["--store", str(folder / "runs"), "--cohorts", str(folder / "cohorts.toml")]
    trials = folder / "runs/studies" / STUDY / "trials"
    memory: list[tuple[int, float]] = []
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen([sys.executable, "-c", code, *words, *places], stdout=log)
        while driver.poll() is None:
            done = len(list(trials.iterdir())) if trials.is_dir() else 0
            if done:
                memory.append((done, private_gib(driver.pid)))
            time.sleep(0.2)
    ends = sorted(path.stat().st_mtime for path in trials.glob("*/eval/*/manifest.json"))
    if driver.returncode or len(ends) != N_TRIALS:
        raise RuntimeError(f"the study ended with {driver.returncode}, {len(ends)} trials done")
    return ends[-1] - ends[0], [(done, gib) for done, gib in memory if gib]


@dataclass(frozen=True)
class _Data:
    """The slices of the study."""

    healthy: Slices
    stroke: Slices

    def train(self) -> Slices:
        return self.healthy

    def test(self, cohort: str) -> Slices:
        return self.stroke

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        return None


def _own_work(study: StudyStore) -> float:
    """Median seconds of a trial in this process alone, its records included."""
    record = study.study()
    if record is None:
        raise RuntimeError("the study has left no record")
    store = Storage(study.storage.filesystem, study.storage.root.partition("/studies/")[0], "")
    keys = {cohort.name: cohort.key for cohort in record.cohorts}
    manifests = {name: read_manifest(store, key) for name, key in keys.items()}
    healthy, stroke = manifests["healthy"], manifests["stroke"]
    if healthy is None or stroke is None:
        raise RuntimeError("the study has left no shards")
    data = _Data(train_slices(store, [healthy]), test_slices(store, stroke))
    apart = StudyStore(study.storage.sub("apart"), STUDY)
    orders = [_order(trial, record) for trial in record.trials[:N_ALONE]]
    return statistics.median(seconds(lambda o=o: list(run_trial(o, data, apart))) for o in orders)


def _order(trial: PlannedTrial, record: StudyRecord) -> TrialOrder:
    modality, cohorts = trial.spec.modality, record.cohorts
    work = Work(trial, trial.evals, fit=True)
    return TrialOrder(work, train_cohorts(modality, cohorts), train_keys(modality, cohorts))


def _write_scans(folder: Path) -> None:
    (folder / "grids").mkdir()
    (folder / "grids" / f"{STUDY}.py").write_text(_GRID)
    (folder / "cohorts.toml").write_text(_COHORTS)
    for cohort in ("healthy", "stroke"):
        _write_head(folder / cohort / "sub-01" / "anat", lesion=cohort == "stroke")


def _write_head(folder: Path, *, lesion: bool) -> None:
    """An ellipsoid of tissue, 6 mm voxels, already stripped."""
    folder.mkdir(parents=True)
    spacing_mm = 6.0
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * spacing_mm for n in (30, 36, 30)))
    brain = (x / 80) ** 2 + (y / 66) ** 2 + (z / 62) ** 2 < 1
    tissue = np.random.default_rng(int(lesion)).normal(400, 30, brain.shape)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    image = np.where(brain, tissue, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), folder / "sub-01_T1w.nii.gz")
    if lesion:
        mask = ((x - 20) ** 2 + y**2 + z**2 < 15**2).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, affine), folder / "sub-01_T1w_label-lesion_mask.nii.gz")
